import calculateSlot from 'cluster-key-slot'
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { RedisClient } from '../../src/redis/client.ts'
import { testRedisUrl } from '../support/redis.ts'
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
