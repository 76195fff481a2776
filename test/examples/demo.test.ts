import { createConnection } from 'node:net'
import { expect, test } from 'vitest'
import { GatewayClient } from '../../src/client/client.ts'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { isAlive } from '../support/processes.ts'
import { runExample, startNode } from './run-node.ts'

const DEMO = 'examples/demo.ts'
const ANSWER = 'Tomorrow Beijing will be sunny, with 6 to 28 degrees.'
const FORECAST = '{"city":"Beijing","sky":"sunny","high":28,"low":6}'

/** A number that the demo has printed. */
function numberIn(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1])
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

test('shows a task from question to result, ends by itself, and leaves no process', { timeout: 40_000 }, async () => {
  const startedAt = performance.now()
  const { code, stdout, stderr } = await runExample(DEMO)
  expect(stderr).toBe('')
  expect(code).toBe(0)
  expect(performance.now() - startedAt).toBeLessThan(30_000)

  const events = [...stdout.matchAll(/^ +\d+ ms (\w+) +(.*)$/gm)].map(([, type, said]) => [type, said])
  expect(events).toEqual([
    ['state', 'thinking'],
    ['data', `forecast({"city":"Beijing"}) → ${FORECAST}`],
    ['state', 'answering'],
    ['chunk', ANSWER],
    ['artifact', 'forecast.json, application/json'],
    ['done', 'COMPLETED'],
  ])
  expect(stdout).toContain(`result    ${FORECAST}`)
  expect(stdout).toContain('Where to go from here')
  expect(stdout).not.toContain('\u001b[') // no colours where nobody sees them

  expect(isAlive(numberIn(stdout, /worker +process (\d+)/))).toBe(false)
  expect(await canConnect(numberIn(stdout, /redis:\/\/127\.0\.0\.1:(\d+)/))).toBe(false)
})

test('leaves the Redis of REDIS_URL running, and no worker on its list', { timeout: 40_000 }, async () => {
  await using redis = await startLocalRedis({ fresh: true })
  const { code, stdout } = await runExample(DEMO, redis.url)
  expect(code).toBe(0)
  expect(stdout).toContain(redis.url)
  await using client = new GatewayClient({ redis: redis.url })
  expect(await client.listWorkers()).toEqual([])
})

test('leaves no worker behind when it is interrupted', { timeout: 90_000 }, async () => {
  await using redis = await startLocalRedis({ fresh: true })
  const demo = startNode(['--import', 'tsx', DEMO], redis.url)
  await waitFor(() => demo.stdout().includes('thinking'), { timeoutMs: 60_000 })
  demo.kill('SIGINT')
  expect((await demo.ended).code).toBe(1)
  const worker = numberIn(demo.stdout(), /worker +process (\d+)/)
  await waitFor(() => !isAlive(worker))
})
