import { setTimeout as pause } from 'node:timers/promises'
import { Redis, type RedisOptions } from 'ioredis'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { RedisHistory } from '../../src/history/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { collect, House } from '../worker/harness.ts'

// ioredis keeps a timer of 2 s for each connection that is closed while its server is away.
afterAll(() => pause(1_000))

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

test('what the server says no to is an error of this library, whatever was asked', async () => {
  const house = new House()
  const url = new URL(house.url)
  url.username = 'nobody'
  url.password = 'wrong'
  const client = house.client({ redis: url.href })
  const task = { sessionId: 's', messageId: 'm' }
  const refusals = await Promise.all(
    [
      client.sendMessage(send),
      client.ask(send),
      client.result(task),
      client.text('s', 'm'),
      client.cancelTask(task),
      client.cancelSession('s'),
      client.reply({ ...task, askId: 'a', content: 'yes' }),
      client.pendingAsks('s'),
      client.getTask(task),
      client.getTree('s', 'm'),
      client.listTasks({ sessionId: 's' }),
      client.listWorkers(),
      client.listPlugins(),
      client.listDeadLetters('agent'),
      client.redriveDeadLetters({ capability: 'agent' }),
      client.queueStats('agent'),
      client.explain(task),
      client.deleteSession('s'),
    ].map((asked) => (asked as Promise<unknown>).catch((error: unknown) => error)),
  )
  expect(refusals.map((error) => (error as { code?: string }).code)).toEqual(refusals.map(() => 'GW_REDIS_FAILED'))
  for (const error of refusals) expect((error as Error).message).toContain('WRONGPASS')
})

test('a subscription that may not read the stream is told so, and does not wait for ever', async () => {
  const house = new House()
  const user = `u-${house.prefix}`
  await house.redis.call('ACL', 'SETUSER', user, 'on', '>p', '~*', '&*', '+@all', '-xrange')
  onTestFinished(async () => void (await house.redis.call('ACL', 'DELUSER', user)))
  const url = new URL(house.url)
  url.username = user
  url.password = 'p'
  const client = house.client({ redis: url.href })
  for (const options of [{ after: '0' }, { messageId: 'm' }]) {
    await expect(client.subscribe('s', options).next()).rejects.toMatchObject({
      ...{ code: 'GW_REDIS_FAILED', message: expect.stringContaining('NOPERM') },
    })
  }
})

test('a key of another kind is named, whatever was asked', async () => {
  const house = new House()
  const { keys } = house
  const history = new RedisHistory({ redis: house.url, keyPrefix: house.prefix })
  onTestFinished(() => history.close())
  const client = house.client({ history })
  const task = { sessionId: 's', messageId: 'm' }
  const inTheWay = [
    ...[keys.task('s', 'm'), keys.data('s'), keys.session('s'), keys.control('agent'), keys.dead('agent')],
    ...[keys.workers(), keys.history('s').order],
  ]
  for (const key of inTheWay) await house.redis.set(key, 'x')
  const session = inTheWay.slice(0, 3)
  const asked: [Promise<unknown>, readonly string[]][] = [
    [client.sendMessage(send), inTheWay],
    [client.ask(send), inTheWay],
    [client.result(task), session],
    [client.text('s', 'm'), session],
    [client.cancelTask(task), session],
    [client.cancelSession('s'), session],
    [client.reply({ ...task, askId: 'a', content: 'yes' }), session],
    [client.pendingAsks('s'), session],
    [client.getTask(task), session],
    [client.getTree('s', 'm'), session],
    [client.listTasks({ sessionId: 's' }), session],
    [client.listWorkers(), [keys.workers()]],
    [client.listPlugins(), [keys.workers()]],
    [client.listDeadLetters('agent'), [keys.dead('agent')]],
    [client.redriveDeadLetters({ capability: 'agent' }), [keys.dead('agent')]],
    [client.queueStats('agent'), [keys.control('agent'), keys.dead('agent')]],
    [client.explain(task), inTheWay],
    [client.deleteSession('s'), session],
    [client.getHistory('s'), [keys.history('s').order]],
    [collect(client.subscribe('s')), session],
    [collect(client.subscribe('s', { after: '0' })), session],
    [collect(client.subscribe('s', { messageId: 'm' })), session],
  ]
  const errors = await Promise.all(asked.map(([answer]) => answer.catch((thrown: unknown) => thrown as Error)))
  for (const [index, [, culprits]] of asked.entries()) {
    const error = errors[index] as Error
    expect(error).toMatchObject({ code: 'GW_REDIS_FAILED', message: expect.stringContaining('WRONGTYPE') })
    expect(culprits.some((key) => error.message.includes(key))).toBe(true)
  }
})

describe('an ioredis instance of the caller’s', () => {
  function instanceOf(house: House, options: RedisOptions = {}): Redis {
    const { hostname: host, port } = new URL(house.url)
    const redis = new Redis({ host, port: Number(port), ...options })
    onTestFinished(() => redis.disconnect())
    return redis
  }

  test('is used by worker and client, and is theirs afterwards: open, with its listeners', async () => {
    const house = new House()
    const redis = instanceOf(house)
    await redis.ping()
    const listeners = redis.eventNames().map((name) => [name, redis.listenerCount(name)])
    const worker = await house.work(() => 'fine', { redis })
    const client = house.client({ redis })
    expect(await client.ask(send)).toMatchObject({ data: 'fine' })
    await client.close()
    await worker.stop()
    expect(redis.status).toBe('ready')
    expect(await redis.ping()).toBe('PONG')
    expect(redis.eventNames().map((name) => [name, redis.listenerCount(name)])).toEqual(listeners)
  })

  test('need not be connected', async () => {
    const house = new House()
    const redis = instanceOf(house, { lazyConnect: true })
    await house.work(() => 'fine', { redis })
    expect(await house.client({ redis }).ask(send)).toMatchObject({ data: 'fine' })
    expect(redis.status).toBe('wait')
  })

  test.each<[string, RedisOptions]>([
    ['a command timeout', { commandTimeout: 300 }],
    ['no offline queue', { enableOfflineQueue: false }],
    ['numbers as texts', { stringNumbers: true }],
    ['few retries', { maxRetriesPerRequest: 1 }],
    ['the third protocol', { protocol: 3 }],
    ['auto-pipelining', { enableAutoPipelining: true }],
    ['a database of its own', { db: 5 }],
  ])('may have %s', async (_what, options) => {
    const house = new House()
    const redis = instanceOf(house, options)
    await redis.ping().catch(() => undefined)
    await house.work(() => 'fine', { redis })
    const client = house.client({ redis })
    expect(await client.ask({ ...send, timeoutMs: 5_000 })).toMatchObject({ data: 'fine' })
    // Longer than its timeout in a blocking read: what is sent then must not go into an answer that nobody reads.
    for (let round = 0; round < 4; round += 1) {
      await pause(320)
      expect(await client.ask({ ...send, timeoutMs: 2_000 })).toMatchObject({ data: 'fine' })
    }
    if (options.db !== undefined) {
      expect(await house.redis.keys(`${house.prefix}*`)).toEqual([])
      await redis.del(...(await redis.keys(`${house.prefix}*`)))
    }
  })

  test('with a key prefix of its own is refused by both', async () => {
    const house = new House()
    const redis = instanceOf(house, { keyPrefix: 'mine:' })
    await expect(house.work(() => 'fine', { redis })).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
    expect(() => house.client({ redis })).toThrow(/keyPrefix/)
  })
})

describe('Redis goes and comes back', () => {
  test('worker, client and readers go on by themselves, nothing is lost, and the log says so once', {
    timeout: 40_000,
  }, async () => {
    const house = await House.private(['--appendonly', 'yes', '--appendfsync', 'always'])
    let ran = 0
    await house.work(async (command, context) => {
      ran += 1
      await context.emitChunk(`said ${command.content}`)
      return command.content
    })
    const client = house.client()
    const subscription = client.subscribe('s', { after: '0' })
    expect(await client.ask({ ...send, content: 'before' })).toMatchObject({ data: 'before' })
    const waiting = client.result({ sessionId: 's', messageId: 'later' })
    house.server.kill('SIGKILL')
    await pause(400)
    await house.server.restart()
    const back = performance.now()
    // The very first command after the restart, with connections that have just been lost.
    expect(await client.ask({ ...send, messageId: 'later', content: 'after' })).toMatchObject({ data: 'after' })
    expect(performance.now() - back).toBeLessThan(3_000)
    expect((await waiting).data).toBe('after')
    const seen: string[] = []
    for await (const event of subscription) {
      seen.push(event.type === 'chunk' ? event.content : event.type)
      if (seen.length === 4) break
    }
    expect(seen).toEqual(['said before', 'done', 'said after', 'done'])
    await house.settled()
    expect(ran).toBe(2)
    // Each connection says once that it was lost and once that it is back: a worker has four, a client two.
    const said = (text: string) => house.logger.lines.filter(({ message }) => message === text).length
    await waitFor(() => said('Redis connection is back') === said('Redis connection lost'))
    expect(said('Redis connection lost')).toBeGreaterThan(0)
    expect(said('Redis connection lost')).toBeLessThanOrEqual(6)
  })

  test('tasks that run across the restart end once, and tasks sent while it was away run', {
    timeout: 40_000,
  }, async () => {
    const house = await House.private(['--appendonly', 'yes', '--appendfsync', 'always'])
    const held = deferred()
    let ran = 0
    await house.work(
      async (command, context) => {
        ran += 1
        await context.emitChunk('one ')
        if (command.content === 'long') await held.promise
        await context.emitChunk('two')
        return 'done'
      },
      { leaseMs: 30_000 },
    )
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'long', content: 'long' })
    await waitFor(() => ran === 1)
    house.server.kill('SIGKILL')
    const during = Array.from({ length: 10 }, (_, i) => client.sendMessage({ ...send, messageId: `m-${i}` }))
    held.resolve()
    await pause(300)
    await house.server.restart()
    for (const answer of await Promise.all(during)) expect(answer).toMatchObject({ status: 'QUEUED' })
    const ids = ['long', ...Array.from({ length: 10 }, (_, i) => `m-${i}`)]
    const results = await Promise.all(
      ids.map((messageId) => client.result({ sessionId: 's', messageId, timeoutMs: 10_000 })),
    )
    for (const result of results) expect(result).toMatchObject({ status: 'COMPLETED', content: 'done' })
    await house.settled()
    for (const messageId of ids) {
      expect(await house.dones('s', messageId)).toHaveLength(1)
      const said = await collect(client.subscribe('s', { messageId, follow: false }))
      expect(said.map((event) => (event.type === 'chunk' ? event.content : event.type))).toEqual([
        'one ',
        'two',
        'done',
      ])
    }
    expect(ran).toBe(11)
  })

  test('empty (flushed): the worker makes its groups again and works on', { timeout: 40_000 }, async () => {
    const house = await House.private()
    await house.work(() => 'fine', { capabilities: ['agent', 'other'] })
    const client = house.client()
    expect(await client.ask(send)).toMatchObject({ data: 'fine' })
    await house.redis.flushall()
    const before = performance.now()
    expect(await client.ask(send)).toMatchObject({ data: 'fine' })
    expect(await client.ask({ ...send, targetAgentType: 'other' })).toMatchObject({ data: 'fine' })
    expect(performance.now() - before).toBeLessThan(2_500)
    expect(house.logger.lines.filter(({ level }) => level === 'warn' || level === 'error').length).toBeLessThan(6)
  })

  test('hangs with open sockets for a while: what was asked is answered when it goes on', {
    timeout: 40_000,
  }, async () => {
    const house = await House.private()
    await house.work(() => 'fine')
    const client = house.client()
    expect(await client.ask(send)).toMatchObject({ data: 'fine' })
    house.server.kill('SIGSTOP')
    const asked = client.ask({ ...send, messageId: 'm' })
    await pause(1_500)
    house.server.kill('SIGCONT')
    expect(await asked).toMatchObject({ data: 'fine' })
    await house.settled()
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('for good: close leaves no timer that keeps the process alive', { timeout: 40_000 }, async () => {
    const house = await House.private()
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    house.redis.disconnect()
    await pause(150)
    const before = timers()
    const client = house.client()
    const subscription = client.subscribe('s')
    await subscription.opened()
    house.server.kill('SIGKILL')
    await waitFor(() => house.logger.lines.some(({ message }) => message === 'Redis connection lost'))
    await client.close()
    await waitFor(() => timers() <= before, { timeoutMs: 1_000, message: 'the timers to be gone' })
  })

  test('a blocking connection that is killed is replaced, and no task falls into the gap', async () => {
    const house = await House.private()
    await house.work((command) => command.content)
    const client = house.client()
    for (let round = 0; round < 10; round += 1) {
      const list = (await house.redis.client('LIST')) as string
      const blocked = list.split('\n').find((line) => / cmd=xreadgroup/.test(line) && / flags=\S*b/.test(line))
      const id = /^id=(\d+)/.exec(blocked ?? '')?.[1]
      const kill = id === undefined ? undefined : house.redis.client('KILL', 'ID', id)
      expect(await client.ask({ ...send, content: `${round}`, timeoutMs: 5_000 })).toMatchObject({ data: `${round}` })
      await kill
    }
    await house.settled()
  })
})

test('what a living server refuses for now is a failure of Redis, whatever was asked', async () => {
  const house = await House.private()
  const client = house.client()
  const task = { sessionId: 's', messageId: 'm' }
  await client.sendMessage({ ...task, targetAgentType: 'agent', content: 'x' })
  await house.redis.config('SET', 'maxmemory', '1')
  const refused = { code: 'GW_REDIS_FAILED', message: expect.stringContaining('OOM') }
  await expect(client.sendMessage({ ...task, targetAgentType: 'agent', content: 'x' })).rejects.toMatchObject(refused)
  await expect(client.cancelTask(task)).rejects.toMatchObject(refused)
  await expect(client.cancelSession('s')).rejects.toMatchObject(refused)
  await expect(client.deleteSession('s')).rejects.toMatchObject(refused)
  await house.redis.config('SET', 'maxmemory', '0')
  expect(await client.cancelTask(task)).toEqual({ success: true, status: 'CANCELLED' })
})
