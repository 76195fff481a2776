import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { afterAll, describe, expect, test } from 'vitest'
import { GatewayClient } from '../../src/client/client.ts'
import type { RedisOption } from '../../src/redis/options.ts'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import { type LocalRedis, startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { FunctionWorker, memoryLogger } from '../worker/harness.ts'
import { connect } from './harness.ts'
import { startSentinel, startWatched } from './sentinel.ts'
import { startTls } from './tls.ts'

// ioredis keeps a timer of 2 s for each connection that is closed while its server is away.
afterAll(() => pause(1_000))

const SECRET = 'hunter2'

async function startRedis(...args: string[]): Promise<LocalRedis> {
  const redis = await startLocalRedis({ fresh: true, args })
  onTestFinished(() => redis.stop())
  return redis
}

/** Runs a worker and a client on it, asks once, and stops both: all that is needed works there. */
async function tryOut(redis: RedisOption): Promise<unknown> {
  const logger = memoryLogger()
  const worker = await runWorker({ redis, logger, worker: new FunctionWorker(['agent'], ({ content }) => content) })
  const client = new GatewayClient({ redis, logger })
  try {
    const { data } = await client.ask({
      targetAgentType: 'agent',
      sessionId: 's',
      content: 'it works',
      timeoutMs: 8_000,
    })
    return data
  } finally {
    await client.close()
    await worker.stop()
  }
}

/** How a worker fails to start there, and after how long. */
async function failure(
  redis: RedisOption,
  connectTimeoutMs = 400,
): Promise<{ error: Error; afterMs: number; logged: string }> {
  const logger = memoryLogger()
  const before = performance.now()
  const options = { redis, logger, connectTimeoutMs, worker: new FunctionWorker(['agent'], () => null) }
  const error = await runWorker(options).then(
    () => new Error('it started'),
    (reason: Error) => reason,
  )
  return { error, afterMs: performance.now() - before, logged: JSON.stringify(logger.lines) }
}

describe.concurrent('a server that cannot be reached is told as GW_REDIS_UNREACHABLE within the time', () => {
  test('nobody listens', async () => {
    const port = await findFreePort()
    const { error, afterMs } = await failure(`redis://:${SECRET}@127.0.0.1:${port}`)
    expect(error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE' })
    expect(error.message).toMatch(new RegExp(`^Redis at 127\\.0\\.0\\.1:${port}/0 cannot be reached: .*ECONNREFUSED`))
    expect(afterMs).toBeLessThan(1_500)
  })

  test('somebody listens and never answers', async () => {
    const silent = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const sockets: import('node:net').Socket[] = []
    silent.on('connection', (socket) => sockets.push(socket))
    onTestFinished(async () => {
      for (const socket of sockets) socket.destroy()
      silent.close()
      await once(silent, 'close')
    })
    const { port } = silent.address() as { port: number }
    const { error, afterMs } = await failure({ host: '127.0.0.1', port })
    expect(error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE', message: expect.stringContaining('within 400 ms') })
    expect(afterMs).toBeLessThan(1_500)
  })

  test('no such host', async () => {
    const { error } = await failure('redis://no-such-host.invalid:6379')
    expect(error).toMatchObject({
      code: 'GW_REDIS_UNREACHABLE',
      message: expect.stringContaining('no-such-host.invalid'),
    })
  })

  test('a client’s send rejects with GW_REDIS_FAILED, and no sooner than it had a chance', {
    timeout: 25_000,
  }, async () => {
    const port = await findFreePort()
    const client = new GatewayClient({ redis: { host: '127.0.0.1', port }, logger: memoryLogger() })
    onTestFinished(() => client.close())
    const before = performance.now()
    await expect(client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'x' })).rejects.toMatchObject({
      ...{ code: 'GW_REDIS_FAILED', message: expect.stringMatching(/the send of msg-.* to 'agent'/) },
    })
    expect(performance.now() - before).toBeLessThan(15_000)
  })
})

describe.concurrent('a server that asks who is there', () => {
  test('a password: right, wrong, none', async () => {
    const { port } = await startRedis('--requirepass', SECRET)
    expect(await tryOut(`redis://:${SECRET}@127.0.0.1:${port}`)).toBe('it works')
    expect(await tryOut({ host: '127.0.0.1', port, password: SECRET })).toBe('it works')
    const wrong = await failure({ host: '127.0.0.1', port, password: `not ${SECRET}` })
    expect(wrong.error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE', message: expect.stringContaining('WRONGPASS') })
    expect(wrong.error.message + wrong.logged).not.toContain(SECRET)
    const none = await failure({ host: '127.0.0.1', port })
    expect(none.error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE', message: expect.stringContaining('NOAUTH') })
    expect(wrong.afterMs + none.afterMs).toBeLessThan(3_000)
  })

  test('a user and a password', async () => {
    const user = ['--user', 'ann', 'on', `>${SECRET}`, '~queue:*', '&queue:*', '+@all', '--user', 'default', 'off']
    const { port } = await startRedis(...user)
    expect(await tryOut(`redis://ann:${SECRET}@127.0.0.1:${port}`)).toBe('it works')
    expect(await tryOut({ host: '127.0.0.1', port, username: 'ann', password: SECRET })).toBe('it works')
    const wrong = await failure(`redis://bob:${SECRET}@127.0.0.1:${port}`)
    expect(wrong.error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE', message: expect.stringContaining('WRONGPASS') })
    expect(wrong.error.message + wrong.logged).not.toContain(SECRET)
  })

  test('a user who may do only what is needed: no admin commands', async () => {
    const rights = ['+@all', '-@admin', '-@dangerous', '+info', '+client|id', '+client|unblock']
    const { port } = await startRedis(
      ...['--user', 'ann', 'on', `>${SECRET}`, '~queue:*', '&queue:*', ...rights, '--user', 'default', 'off'],
    )
    expect(await tryOut(`redis://ann:${SECRET}@127.0.0.1:${port}`)).toBe('it works')
  })
})

describe.concurrent('a database that cannot be chosen', () => {
  test('is an error, and nothing goes to database 0 in its place', { timeout: 30_000 }, async () => {
    const { port } = await startRedis('--databases', '2')
    expect(await tryOut(`redis://127.0.0.1:${port}/1`)).toBe('it works')

    const { error, logged } = await failure(`redis://127.0.0.1:${port}/2`)
    expect(error).toMatchObject({
      code: 'GW_REDIS_UNREACHABLE',
      message: expect.stringContaining('DB index is out of range'),
    })
    expect(logged).not.toContain('connection is back')

    const logger = memoryLogger()
    const client = new GatewayClient({ redis: `redis://127.0.0.1:${port}/2`, logger })
    const sent = client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
    await expect(sent).rejects.toMatchObject({ code: 'GW_REDIS_FAILED' })
    const subscription = client.subscribe('s', { after: '0' })
    await expect(subscription.next()).rejects.toMatchObject({ code: 'GW_REDIS_FAILED' })
    await client.close()
    const lost = { level: 'warn', fields: expect.objectContaining({ reason: 'ERR DB index is out of range' }) }
    // One of the connection for commands, one of that for pushes, however often they are tried.
    expect(logger.lines).toMatchObject([lost, lost])

    const bare = new Redis(port)
    onTestFinished(() => void bare.disconnect())
    expect(await bare.dbsize()).toBe(0)
  })

  test('because its user may not do so', async () => {
    const rights = ['~queue:*', '&queue:*', '+@all', '-select', '--user', 'default', 'off']
    const { port } = await startRedis('--user', 'ann', 'on', `>${SECRET}`, ...rights)
    const { error } = await failure(`redis://ann:${SECRET}@127.0.0.1:${port}/1`)
    expect(error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE', message: expect.stringContaining('NOPERM') })
  })
})

describe.concurrent('TLS', () => {
  test('with a certificate we know, and not with one we do not know', async () => {
    const { port, ca } = await startTls()
    expect(await tryOut({ host: '127.0.0.1', port, tls: { ca } })).toBe('it works')
    expect(await tryOut({ host: 'localhost', port, tls: { ca, servername: 'localhost' } })).toBe('it works')
    expect(await tryOut({ host: '127.0.0.1', port, tls: { rejectUnauthorized: false } })).toBe('it works')
    for (const redis of [
      `rediss://localhost:${port}`,
      `rediss://127.0.0.1:${port}`,
      { host: '127.0.0.1', port, tls: true },
    ]) {
      const { error } = await failure(redis)
      expect(error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE', message: expect.stringMatching(/self-signed/) })
    }
    const { error } = await failure({ host: '127.0.0.1', port })
    expect(error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE' })
  })
})

describe.concurrent('Sentinel', () => {
  test('finds the master, and goes with it when another takes over', { timeout: 60_000 }, async () => {
    const { master, option } = await startWatched()
    expect(await tryOut(option)).toBe('it works')
    const logger = memoryLogger()
    const worker = await runWorker({
      redis: option,
      logger,
      worker: new FunctionWorker(['agent'], ({ content }) => content),
    })
    onTestFinished(() => worker.stop())
    const client = new GatewayClient({ redis: option, logger })
    onTestFinished(() => client.close())
    const ask = (content: string) =>
      client.ask({ targetAgentType: 'agent', sessionId: 's', content, timeoutMs: 20_000 })
    expect(await ask('before')).toMatchObject({ data: 'before' })
    master.kill('SIGKILL')
    const sent = await waitFor(() => ask('after').catch(() => undefined), { timeoutMs: 40_000, intervalMs: 200 })
    expect(sent).toMatchObject({ status: 'COMPLETED', data: 'after' })
  })

  test('with TLS, which the sentinel and the master speak', async () => {
    const { port, ca, sentinel } = await startTls()
    const option = { sentinels: [{ host: '127.0.0.1', port: await startSentinel(port, sentinel) }], name: 'main' }
    expect(await tryOut({ ...option, tls: { ca } })).toBe('it works')
    const { error } = await failure({ ...option, tls: true })
    expect(error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE' })
  })

  test('who asks for TLS is told nothing in the clear', async () => {
    const { option } = await startWatched()
    const { error } = await failure({ ...option, tls: true })
    expect(error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE' })
  })

  test('through a client of the caller’s that gives up when no sentinel is there: we wait for one', async () => {
    const { port: masterPort } = await startRedis()
    const [sentinelPort, port] = [await startSentinel(masterPort), await findFreePort()]
    const sentinels = [{ host: '127.0.0.1', port }]
    const redis = new Redis({ sentinels, name: 'main', sentinelRetryStrategy: () => null, lazyConnect: true })
    onTestFinished(() => redis.disconnect())
    const answer = connect(redis).client('patient').call('PING')
    await Promise.race([pause(300), answer])
    const proxy = await TcpProxy.start(sentinelPort, port)
    onTestFinished(() => proxy.stop())
    expect(await answer).toBe('PONG')
  })

  test('a name that no sentinel knows is told within the time', async () => {
    const { option } = await startWatched()
    const { error, afterMs } = await failure({ ...option, name: 'other' })
    expect(error).toMatchObject({ code: 'GW_REDIS_UNREACHABLE', message: expect.stringContaining("sentinel 'other'") })
    expect(afterMs).toBeLessThan(3_000)
  })
})

test.concurrent('one warning when a connection is lost and one line when it is back, however often it is tried in between', async () => {
  const server = await startRedis()
  const logger = memoryLogger()
  const client = connect(server.url, logger).client('patient')
  await client.call('PING')
  server.kill('SIGKILL')
  await pause(1_000)
  const answer = client.call('PING')
  await server.restart()
  expect(await answer).toBe('PONG')
  expect(logger.lines.map(({ level, message }) => [level, message])).toEqual([
    ['warn', 'Redis connection lost'],
    ['info', 'Redis connection is back'],
  ])
})

test.concurrent('a command that a demoted master refuses is sent again to the one that is master then', async () => {
  const server = await startRedis()
  const bare = new Redis(server.url, { disconnectTimeout: 100 })
  onTestFinished(() => bare.disconnect())
  const client = connect(server.url).client('patient')
  await client.call('SET', 'a', 1)
  // A replica of nobody who answers: it refuses writes with READONLY until it is a master again.
  await bare.call('REPLICAOF', '127.0.0.1', await findFreePort())
  const write = client.call('SET', 'a', 2)
  await pause(200)
  await bare.call('REPLICAOF', 'NO', 'ONE')
  expect(await write).toBe('OK')
})

test.concurrent('close ends everything at once: what is under way is rejected', async () => {
  const connections = connect()
  const blocking = connections.client('blocking')
  await blocking.call('PING')
  const waiting = blocking.call('XREAD', 'BLOCK', 60_000, 'STREAMS', 'nothing-comes-here', '$')
  const refused = expect(waiting).rejects.toThrow(/closed/)
  const before = performance.now()
  connections.close()
  await refused
  expect(performance.now() - before).toBeLessThan(1_000)
})
