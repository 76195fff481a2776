import { expect, test } from 'vitest'
import { openStore } from './harness.ts'

const GROUP = 'g'
const MONTH_MS = 29 * 86_400_000

test('expire-unset gives a time to keys that have none, and to no other', async () => {
  const { redis, keys, bare } = openStore()
  const [none, some, gone] = ['none', 'some', 'gone'].map((id) => keys.data(id)) as [string, string, string]
  await bare.set(none, 'x')
  await bare.set(some, 'x', 'PX', 30_000)
  expect(await redis.script('expireUnset', [none, some, gone], [60_000, 60_000, 60_000])).toBe(1)
  expect(await bare.pttl(none)).toBeGreaterThan(30_000)
  expect(await bare.pttl(some)).toBeLessThanOrEqual(30_000)
  expect(await bare.exists(gone)).toBe(0)
})

test('expire-ended gives a time to what a task has left, as long as it has that end', async () => {
  const { redis, keys, bare } = openStore()
  const [record, journal] = [keys.task('s', 'm'), keys.journal('s', 'm')]
  const expire = (key: string, fence: string) => redis.script<number>('expireEnded', [record, key], [fence, 60_000])
  await bare.hset(record, 'fence', 'Q:1::')
  await bare.hset(journal, 'n', '1')
  expect([await expire(record, 'F:1:5-5:w'), await expire(journal, 'F:1:5-5:w')]).toEqual([0, 0])
  await bare.hset(record, 'fence', 'F:1:5-5:w')
  expect([await expire(record, 'F:1:5-5:w'), await expire(journal, 'F:1:5-5:w')]).toEqual([1, 1])
  await bare.pexpire(record, 30_000)
  expect(await expire(record, 'F:1:5-5:w')).toBe(0)
  expect(await bare.pttl(record)).toBeLessThanOrEqual(30_000)
  await bare.del(journal)
  expect(await expire(journal, 'F:1:5-5:w')).toBe(0)
})

test('restore-entry makes an acked entry pending again, in place, for any worker to take over', async () => {
  const { redis, keys, bare } = openStore()
  const key = keys.control('a')
  await bare.xgroup('CREATE', key, GROUP, '0', 'MKSTREAM')
  const ids = (await Promise.all(
    ['1', '2'].map((value) => bare.xadd(key, '*', 'data', value, 'turn', '3')),
  )) as string[]
  await bare.xreadgroup('GROUP', GROUP, 'w', 'STREAMS', key, '>')
  const [first, second] = ids as [string, string]
  await bare.xack(key, GROUP, first)
  const restore = (id: string) => redis.script<number>('restoreEntry', [key], [GROUP, 'doctor', id])
  expect([await restore(first), await restore(first)]).toEqual([1, 0])
  // What is pending stays with its owner, and what is gone stays gone.
  expect([await restore(second), await restore('9-9')]).toEqual([0, 0])
  const pending = (await bare.xpending(key, GROUP, '-', '+', 10)) as [string, string, number][]
  expect(pending.map(([id, consumer]) => [id, consumer])).toEqual([
    [first, 'doctor'],
    [second, 'w'],
  ])
  expect(pending[0]?.[2]).toBeGreaterThan(MONTH_MS)
  const reply = await bare.xautoclaim(key, GROUP, 'w-2', 60_000, '0-0')
  const [, taken] = reply as [string, [string, string[]][]]
  expect(taken.map(([id, fields]) => [id, fields])).toEqual([[first, ['data', '1', 'turn', '3']]])
})

test('a scan sees every key of its pattern at least once, and no other', async () => {
  const { redis, keys, bare } = openStore()
  const expected = Array.from({ length: 2_500 }, (_, i) => keys.data(`s-${i}`))
  const batch = bare.pipeline()
  for (const key of expected) batch.set(key, 'x')
  await batch.exec()
  const seen = new Set<string>()
  let pages = 0
  for await (const page of redis.scan(keys.allPattern(), 100)) {
    pages += 1
    for (const key of page) seen.add(key)
  }
  expect([...seen].sort()).toEqual(expected.sort())
  expect(pages).toBeGreaterThan(2)
})
