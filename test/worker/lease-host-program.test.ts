import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { House } from './harness.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** A worker that blocks its event loop for two seconds when its thread keeps its leases. */
const program = ({ url, prefix }: House) => `
  import { GatewayWorker, runWorker } from 'byclaw-gateway-sdk'
  class Agent extends GatewayWorker {
    getCapabilities() { return ['agent'] }
    processCommand() {}
  }
  const quiet = () => undefined
  const logger = { debug: quiet, info: quiet, warn: quiet, error: quiet, child: () => logger }
  const at = { redis: ${JSON.stringify(url)}, keyPrefix: ${JSON.stringify(prefix)} }
  const kept = new Promise((resolve) => {
    process.on('worker', (thread) => thread.on('message', ({ kind }) => kind === 'ready' && resolve()))
  })
  const worker = await runWorker({ ...at, workerClass: Agent, leaseMs: 400, logger })
  await kept
  console.log('blocked')
  for (const until = performance.now() + 2_000; performance.now() < until; );
  console.log('free')
  await worker.stop()
`

interface Start {
  readonly args: readonly string[]
  readonly input?: string
}

test.each<[string, (text: string) => Start]>([
  ['--eval', (text) => ({ args: ['--input-type=module', '--eval', text] })],
  ['--eval, its kind in a word of its own', (text) => ({ args: ['--input-type', 'module', '--eval', text] })],
  ['stdin', (text) => ({ args: ['--input-type=module', '-'], input: text })],
])('leases are kept from another thread if the main program is a text: %s', async (_, start) => {
  const house = new House()
  const client = house.client()
  const { args, input = '' } = start(program(house))
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['pipe', 'pipe', 'inherit'] })
  const closed = once(child, 'close')
  child.stdin.end(input)
  let said = ''
  child.stdout.on('data', (data) => {
    said += data
  })
  await waitFor(() => said.includes('blocked'), { timeoutMs: 15_000 })
  const seen = async () => (await client.listWorkers())[0]?.lastSeenAt ?? 0
  const first = await seen()
  await waitFor(async () => (await seen()) > first + 500)
  expect(said).toBe('blocked\n')
  await closed
  expect(said).toBe('blocked\nfree\n')
})
