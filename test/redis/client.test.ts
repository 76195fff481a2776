import calculateSlot from 'cluster-key-slot'
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { RedisClient } from '../../src/redis/client.ts'
import { ConnectionState } from '../../src/redis/connection-state.ts'
import { sleep } from '../../src/util/sleep.ts'
import { testRedisUrl } from '../support/redis.ts'
import { memoryLogger } from '../worker/harness.ts'
import { openStore } from './harness.ts'

test('commands and their errors are those of Redis', async () => {
  const { redis, keys } = openStore()
  const key = keys.worker('x')
  expect(await redis.call('HSET', key, 'a', 1)).toBe(1)
  expect(await redis.call('HGETALL', key)).toEqual(['a', '1'])
  await expect(redis.call('HSET', key)).rejects.toThrow(/^ERR wrong number of arguments/)
  expect(
    await redis.all([
      ['HSET', key, 'b', 2],
      ['HLEN', key],
    ]),
  ).toEqual([1, 2])
  expect(await redis.all([])).toEqual([])
  await expect(
    redis.all([
      ['HLEN', key],
      ['HGET', key],
    ]),
  ).rejects.toThrow(/^ERR wrong number of arguments/)
})

test('a key of another kind is named, as far as can be known', async () => {
  const { redis, keys } = openStore()
  const [key, other] = [keys.worker('x'), keys.worker('y')]
  await redis.call('SET', key, 'no stream')
  const told = (said: string) => ({ code: 'GW_REDIS_FAILED', message: expect.stringContaining(said) })
  const alone = told(`the key ${key} holds a value of another kind, which somebody else has put there: look at it`)
  await expect(redis.call('XLEN', key)).rejects.toMatchObject(alone)
  await expect(redis.callBuffer('HGET', key, 'a')).rejects.toMatchObject(alone)
  await expect(redis.call('XINFO', 'STREAM', key)).rejects.toMatchObject(alone)
  await expect(redis.call('XREAD', 'COUNT', 1, 'STREAMS', other, key, 0, 0)).rejects.toMatchObject(
    told(`one of the keys ${other}, ${key} holds`),
  )
  await expect(redis.script('laneStats', [key], ['group'])).rejects.toMatchObject(alone)
})

test('bytes come as bytes', async () => {
  const { redis, keys } = openStore()
  const bytes = Buffer.from([0xff, 0x00, 0xc3, 0x28])
  await redis.call('HSET', keys.worker('x'), 'a', bytes)
  expect(await redis.callBuffer('HGET', keys.worker('x'), 'a')).toEqual(bytes)
})

test('an error of a script is its own, not taken for an unknown script', async () => {
  const { redis, keys } = openStore()
  await redis.call('SET', keys.control('c'), 'no stream')
  await expect(redis.script('enqueue', [keys.control('c')], ['x', '', 0])).rejects.toThrow(/WRONGTYPE/)
})

test('on one Redis all items go together; on a Cluster one call per slot, and the results in the items’ order', async () => {
  const connection = new Redis(testRedisUrl(), { lazyConnect: true })
  onTestFinished(() => connection.disconnect())
  const items = Array.from({ length: 40 }, (_, i) => `{s-${i % 7}}:${i}`)
  for (const isCluster of [false, true]) {
    const calls: (readonly string[])[] = []
    const client = new RedisClient({ redis: connection, isCluster, isClosed: () => false })
    const results = await client.bySlot(
      items,
      (key) => key,
      async (part) => {
        calls.push(part)
        return part.map((key) => `did ${key}`)
      },
    )
    expect(results).toEqual(items.map((key) => `did ${key}`))
    expect(calls).toHaveLength(isCluster ? 7 : 1)
    for (const part of calls) if (isCluster) expect(new Set(part.map((key) => calculateSlot(key))).size).toBe(1)
  }
})

test('a server that has long been refusing is tried by one command at a time', async () => {
  const connection = new Redis(testRedisUrl(), { protocol: 2 })
  onTestFinished(() => connection.disconnect())
  await connection.ping()
  const { redis, keys } = openStore()
  const [list, awayMs] = [keys.worker('x'), () => 60_000]
  const client = new RedisClient({
    ...{ redis: connection, isCluster: false, isClosed: () => false, awayMs, timeoutMs: 10_000 },
  })
  const trying = client.call('BLPOP', list, 0)
  const late = { code: 'GW_REDIS_FAILED', message: expect.stringContaining('has been away for 60 s') }
  await expect(client.call('PING')).rejects.toMatchObject(late)
  await redis.call('RPUSH', list, 'a')
  expect(await trying).toEqual([list, 'a'])
  expect(await client.call('PING')).toBe('PONG')
})

test('a connection that is lost soon after a server has taken commands again is away', async () => {
  const state = new ConnectionState(memoryLogger(), {})
  onTestFinished(() => state.close())
  state.refused('READONLY')
  await sleep(20)
  expect(state.awayMs).toBeGreaterThan(10)
  state.ready()
  state.answered()
  expect(state.awayMs).toBe(0)
  state.lost('gone')
  await sleep(1_100)
  expect(state.awayMs).toBeGreaterThan(1_000)
})
