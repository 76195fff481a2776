import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { testRedisUrl } from './redis.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ARGS = ['run', '--config', 'test/support/fixtures/leaks/vitest.config.ts', '--reporter=json']

interface Report {
  readonly testResults: { readonly name: string; readonly status: string; readonly message: string }[]
}

/** A run of its own over the files in `fixtures/leaks`, each of which leaves something else open. */
function runFixtures(): Promise<Report> {
  return new Promise((resolve, reject) => {
    const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs')
    const env = { ...process.env, REDIS_URL: testRedisUrl() }
    execFile(process.execPath, [vitest, ...ARGS], { cwd: ROOT, env }, (_failed, stdout, stderr) => {
      const json = stdout.slice(stdout.indexOf('{'))
      if (json === '') reject(new Error(`no report: ${stderr}`))
      else resolve(JSON.parse(json) as Report)
    })
  })
}

test('fails a file that leaves something open, names it, and lets the others pass', { timeout: 180_000 }, async () => {
  const { testResults } = await runFixtures()
  const said = Object.fromEntries(
    testResults.map(({ name, status, message }) => [name.replace(/.*\/|\.leak\.ts$/g, ''), `${status} ${message}`]),
  )
  expect(said).toEqual({
    clean: expect.stringMatching(/^passed $/),
    socket: expect.stringMatching(/^failed .*leaves open what it opened: 1 × TCPSocketWrap$/),
    timer: expect.stringMatching(/^failed .*leaves open what it opened: 1 × Timeout$/),
    thread: expect.stringMatching(/^failed .*leaves open what it opened: 1 × MessagePort, worker thread \d+$/),
    server: expect.stringMatching(
      /^failed .*: child process \d+ \(\/bin\/sh\), child process \d+ \(.*(redis|valkey)-server\)$/,
    ),
  })
})
