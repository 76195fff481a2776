import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { freshPrefix, removeKeys, testRedisUrl } from './redis.ts'

test('a fresh prefix is nobody else’s, and only its own keys are removed', async () => {
  const redis = new Redis(testRedisUrl())
  onTestFinished(() => redis.disconnect())
  const [mine, other] = [freshPrefix(), freshPrefix()]
  expect(mine).not.toBe(other)
  const pipeline = redis.pipeline().set(`${other}:kept`, 1).xadd(`${mine}:data:stream:{s}`, '*', 'data', '{}')
  for (let i = 0; i < 2500; i += 1) pipeline.set(`${mine}:${i}`, i)
  await pipeline.exec()
  expect(await removeKeys(mine)).toBe(2501)
  expect(await redis.keys(`${mine}*`)).toEqual([])
  expect(await redis.exists(`${other}:kept`)).toBe(1)
})
