import { setTimeout as pause } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { memoryLogger } from '../worker/harness.ts'
import { connect } from './harness.ts'

async function open(args: readonly string[] = []) {
  const server = await startLocalRedis({ fresh: true, args })
  onTestFinished(() => server.stop())
  const proxy = await TcpProxy.start(server.port)
  onTestFinished(() => proxy.stop())
  const logger = memoryLogger()
  const connections = connect(proxy.url, logger)
  const lost = () => logger.lines.filter(({ message }) => message === 'Redis connection lost').length
  return { server, proxy, connections, lost }
}

test.each(['patient', 'prompt', 'pulse'] as const)(
  'a %s command into a hole is sent again on a new connection, within seconds',
  async (role) => {
    const { proxy, connections, lost } = await open()
    const client = connections.client(role)
    await client.call('SET', 'a', 1)
    proxy.blackHole((connection) => connection.commands.has('SET'))
    const before = performance.now()
    expect(await client.call('INCR', 'a')).toBe(2)
    expect(performance.now() - before).toBeGreaterThan(1_500)
    expect(performance.now() - before).toBeLessThan(6_000)
    expect(lost()).toBe(1)
  },
)

test('an answer that is lost is asked for again: the command ran twice', async () => {
  const { proxy, connections } = await open()
  const client = connections.client('patient')
  await client.call('SET', 'a', 1)
  proxy.blackHole((connection) => connection.commands.has('SET'), 'down')
  expect(await client.call('INCR', 'a')).toBe(3)
})

test('a blocking read into a hole is thrown, so that its loop reads again', async () => {
  const { proxy, connections } = await open()
  const client = connections.client('blocking')
  await client.call('PING')
  proxy.blackHole((connection) => connection.commands.has('PING'))
  const read = client.call('XREAD', 'BLOCK', 1_000, 'STREAMS', 'nothing', '$')
  await expect(read).rejects.toMatchObject({ code: 'GW_REDIS_FAILED', message: expect.stringContaining('XREAD') })
  expect(await client.call('XREAD', 'BLOCK', 10, 'STREAMS', 'nothing', '$')).toBeNull()
})

test('silence without a question is no silence', async () => {
  const { proxy, connections, lost } = await open()
  const client = connections.client('patient')
  await client.call('PING')
  proxy.blackHole((connection) => connection.commands.has('PING'))
  await pause(3_000)
  expect(lost()).toBe(0)
})

test('an event loop that was blocked reads first and judges then', async () => {
  const { connections, lost } = await open()
  const client = connections.client('patient')
  await client.call('PING')
  const answers: Promise<unknown>[] = []
  for (let round = 0; round < 3; round += 1) {
    answers.push(client.call('PING'))
    await pause(1)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500)
  }
  expect(await Promise.all(answers)).toEqual(['PONG', 'PONG', 'PONG'])
  expect(lost()).toBe(0)
})

test('a command that takes longer than the limit has its answer in the end', { timeout: 60_000 }, async () => {
  const { connections, lost } = await open(['--enable-debug-command', 'yes'])
  const client = connections.client('patient')
  // Three seconds each time it is sent.
  expect(await client.call('DEBUG', 'SLEEP', '3')).toBe('OK')
  expect(lost()).toBe(1)
})

test('a slow upload is no silence', { timeout: 40_000 }, async () => {
  const { proxy, connections, lost } = await open()
  const client = connections.client('patient')
  await client.call('PING')
  proxy.throttle(4_000_000)
  const before = performance.now()
  expect(await client.call('SET', 'large', 'x'.repeat(16_000_000))).toBe('OK')
  expect(performance.now() - before).toBeGreaterThan(3_000)
  expect(lost()).toBe(0)
})
