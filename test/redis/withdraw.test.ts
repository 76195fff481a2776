import { expect, test } from 'vitest'
import { openStore } from './harness.ts'

/** A control stream with two entries and these groups. */
async function stream(...groups: readonly string[]) {
  const { redis, keys, bare } = openStore()
  const key = keys.control('a')
  const ids = (await Promise.all(['1', '2'].map((value) => bare.xadd(key, '*', 'data', value)))) as [string, string]
  for (const group of groups) await bare.xgroup('CREATE', key, group, '0')
  return {
    bare,
    key,
    ids,
    take: (group: string, count: number) => bare.xreadgroup('GROUP', group, 'w', 'COUNT', count, 'STREAMS', key, '>'),
    withdraw: (group: string, id: string) => redis.script<number>('withdraw', [key], [group, id]),
  }
}

test('an entry is withdrawn that nobody was handed, also where no worker ever was', async () => {
  const { ids, bare, key, withdraw } = await stream()
  expect([await withdraw('g', ids[0]), await withdraw('g', ids[0])]).toEqual([1, 2])
  await bare.xgroup('CREATE', key, 'g', '0')
  expect(await withdraw('g', ids[1])).toBe(1)
  expect(await bare.xlen(key)).toBe(0)
})

test('one that its group was handed stays', async () => {
  const { ids, take, withdraw, bare, key } = await stream('g')
  await take('g', 1)
  expect([await withdraw('g', ids[0]), await withdraw('g', ids[1])]).toEqual([0, 1])
  await bare.xack(key, 'g', ids[0])
  expect(await withdraw('g', ids[0])).toBe(0)
})

test('one that is neither there nor with anybody is gone, also where later ones were handed out', async () => {
  const { ids, take, withdraw, bare, key } = await stream('g')
  expect(await withdraw('g', ids[0])).toBe(1)
  await take('g', 1)
  expect(await withdraw('g', ids[0])).toBe(2)
  await bare.xdel(key, ids[1])
  expect(await withdraw('g', ids[1])).toBe(0) // who was handed it may be about to see it off
  await bare.xack(key, 'g', ids[1])
  expect(await withdraw('g', ids[1])).toBe(2)
  await bare.del(key)
  expect(await withdraw('g', ids[1])).toBe(2)
})

test('where there are groups, but not the one that is named, all stays', async () => {
  const { ids, withdraw, bare, key } = await stream('another')
  expect(await withdraw('g', ids[1])).toBe(0)
  expect(await bare.xlen(key)).toBe(2)
})

test('one that is pending in any group stays', async () => {
  const { ids, take, withdraw } = await stream('g', 'another')
  await take('another', 1)
  expect([await withdraw('g', ids[0]), await withdraw('g', ids[1])]).toEqual([0, 1])
})
