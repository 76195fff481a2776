import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { describe, expect, type TestContext, test } from 'vitest'
import { RedisConnections } from '../../src/redis/connections.ts'
import { resolveRedisOption } from '../../src/redis/options.ts'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { memoryLogger } from '../worker/harness.ts'

/** Several tests run at once, so that each says where it ends. */
async function open({ onTestFinished }: TestContext, args: readonly string[] = []) {
  const server = await startLocalRedis({ fresh: true, args })
  onTestFinished(() => server.stop())
  const proxy = await TcpProxy.start(server.port)
  onTestFinished(() => proxy.stop())
  const logger = memoryLogger()
  const connections = new RedisConnections(resolveRedisOption(proxy.url), logger)
  onTestFinished(() => connections.close())
  const reasons = () =>
    logger.lines.flatMap(({ message, fields }) => (message === 'Redis connection lost' ? [String(fields.reason)] : []))
  const lost = () => reasons().length
  return { server, proxy, connections, lost, reasons }
}

// They wait most of the time.
describe.concurrent('while the event loop goes round', () => {
  test.for(['patient', 'prompt', 'pulse'] as const)(
    'a %s command into a hole is sent again on a new connection, within seconds',
    async (role, context) => {
      const { proxy, connections, reasons } = await open(context)
      const client = connections.client(role)
      await client.call('SET', 'a', 1)
      proxy.blackHole((connection) => connection.commands.has('SET'))
      const before = performance.now()
      expect(await client.call('INCR', 'a')).toBe(2)
      expect(performance.now() - before).toBeGreaterThan(700)
      expect(performance.now() - before).toBeLessThan(6_000)
      // So the server was asked, and nobody waited for the limit of a server that hangs.
      expect(reasons()).toEqual([expect.stringContaining('and the server answers others')])
      await waitFor(() => proxy.connections((connection) => connection.commands.has('EVAL')).length === 0)
    },
  )

  test('an answer that is lost is asked for again: the command ran twice', async (context) => {
    const { proxy, connections } = await open(context)
    const client = connections.client('patient')
    await client.call('SET', 'a', 1)
    proxy.blackHole((connection) => connection.commands.has('SET'), 'down')
    expect(await client.call('INCR', 'a')).toBe(3)
  })

  test('a blocking read into a hole is thrown, so that its loop reads again', async (context) => {
    const { proxy, connections } = await open(context)
    const client = connections.client('blocking')
    await client.call('PING')
    proxy.blackHole((connection) => connection.commands.has('PING'))
    const read = client.call('XREAD', 'BLOCK', 1_000, 'STREAMS', 'nothing', '$')
    await expect(read).rejects.toMatchObject({ code: 'GW_REDIS_FAILED', message: expect.stringContaining('XREAD') })
    expect(await client.call('XREAD', 'BLOCK', 10, 'STREAMS', 'nothing', '$')).toBeNull()
  })

  test('silence without a question is no silence', async (context) => {
    const { proxy, connections, lost } = await open(context)
    const client = connections.client('patient')
    await client.call('PING')
    proxy.blackHole((connection) => connection.commands.has('PING'))
    await pause(3_000)
    expect(lost()).toBe(0)
  })

  test('a command that takes longer than the limit has its answer in the end', { timeout: 60_000 }, async (context) => {
    const { connections, lost } = await open(context, ['--enable-debug-command', 'yes'])
    const client = connections.client('patient')
    // Three seconds each time it is sent.
    expect(await client.call('DEBUG', 'SLEEP', '3')).toBe('OK')
    expect(lost()).toBe(1)
  })

  test('a server that is busy for a while with the command of somebody else answers nobody, and loses nobody', async (context) => {
    const { server, proxy, connections, lost } = await open(context, ['--enable-debug-command', 'yes'])
    const client = connections.client('patient')
    await client.call('PING')
    const other = new Redis(server.url)
    context.onTestFinished(() => other.disconnect())
    await other.ping()
    const asked = proxy.accepted
    for (let round = 0; round < 3; round += 1) {
      const sleeping = other.call('DEBUG', 'SLEEP', '1.3')
      await pause(50)
      expect(await client.call('PING')).toBe('PONG')
      expect(await sleeping).toBe('OK')
    }
    expect(lost()).toBe(0)
    expect(proxy.accepted).toBeGreaterThan(asked) // the question was put
  })

  test('a command that is meant to wait on the server may do so, and what follows it', async (context) => {
    const { connections, lost } = await open(context)
    const client = connections.client('patient')
    await client.call('SET', 'a', 1)
    const waited = client.call('WAIT', 1, 2_500) // there is no replica
    expect(await Promise.all([waited, client.call('INCR', 'a')])).toEqual([0, 2])
    const reading = connections.client('blocking')
    expect(await reading.call('XREAD', 'BLOCK', 2_500, 'STREAMS', 'nothing', '$')).toBeNull()
    expect(lost()).toBe(0)
  })

  test('a server that holds writes back is not given up sooner than one that hangs', async (context) => {
    const { server, connections, lost } = await open(context)
    const client = connections.client('patient')
    await client.call('SET', 'a', 1)
    const other = new Redis(server.url)
    context.onTestFinished(() => other.disconnect())
    await other.call('CLIENT', 'PAUSE', '1700', 'WRITE')
    expect(await client.call('INCR', 'a')).toBe(2)
    expect(lost()).toBe(0)
  })

  test('a slow upload is no silence', { timeout: 40_000 }, async (context) => {
    const { proxy, connections, lost } = await open(context)
    const client = connections.client('patient')
    await client.call('PING')
    proxy.throttle(4_000_000)
    const before = performance.now()
    expect(await client.call('SET', 'large', 'x'.repeat(16_000_000))).toBe('OK')
    expect(performance.now() - before).toBeGreaterThan(3_000)
    expect(lost()).toBe(0)
  })
})

test('an event loop that was blocked reads first and judges then', async (context) => {
  const { connections, lost } = await open(context)
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

test('the same while this event loop is blocked, too', async (context) => {
  const { server, connections, lost } = await open(context, ['--enable-debug-command', 'yes'])
  const client = connections.client('patient')
  await client.call('PING')
  const other = new Redis(server.url)
  context.onTestFinished(() => other.disconnect())
  await other.ping()
  for (let round = 0; round < 3; round += 1) {
    const sleeping = other.call('DEBUG', 'SLEEP', '1.1')
    await pause(20)
    const answer = client.call('PING')
    // Blocked in pieces: between them looks are taken and the question is put.
    for (let piece = 0; piece < 8; piece += 1) {
      await pause(1)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 220)
    }
    expect(await answer).toBe('PONG')
    expect(await sleeping).toBe('OK')
  }
  expect(lost()).toBe(0)
})
