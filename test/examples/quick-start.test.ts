import { expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { README } from './readme-page.ts'
import { startNode } from './run-node.ts'

const WORKER = ['--dev', '--worker-class', './examples/echo-agent.ts#EchoAgent']

test('what the page shows is what is tried here', () => {
  expect(README).toContain(`npx byclaw-worker ${WORKER.join(' ').replace('examples/echo-agent', 'agent')}\n`)
  expect(README).toContain('npx byclaw send echo "hello"')
})

test('the agent of the quick start runs, and the line that it prints reaches it', { timeout: 40_000 }, async () => {
  const worker = startNode(['dist/cli/byclaw-worker.js', ...WORKER])
  const line = await waitFor(() => /^Try in another terminal: npx byclaw (.*)$/m.exec(worker.stderr())?.[1], {
    timeoutMs: 20_000,
    message: () => `a line to try, in: ${worker.stderr()}`,
  })
  expect(line).toMatch(/^send echo "Hello"( --redis-url redis:\/\/127\.0\.0\.1:\d+\/0)?$/)
  const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '')

  const { code, stdout } = await startNode(['dist/cli/byclaw.js', ...words]).ended
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'You said: Hello\n' })

  worker.kill('SIGINT')
  expect((await worker.ended).code).toBe(0)
})
