import type { Redis } from 'ioredis'
import { beforeEach, expect, test, vi } from 'vitest'
import type { RedisClient } from '../../src/redis/client.ts'
import type { Keys } from '../../src/redis/keys.ts'
import { ControlLeases } from '../../src/store/control-leases.ts'
import { ControlReader } from '../../src/store/control-reader.ts'
import { type ControlStream, lanesOf } from '../../src/store/control-streams.ts'
import { ControlWriter } from '../../src/store/control-writer.ts'
import { sleep } from '../../src/util/sleep.ts'
import { openStore } from '../redis/harness.ts'
import { atMost } from './read-plan.ts'

let redis: RedisClient
let keys: Keys
let bare: Redis
let writer: ControlWriter
let reader: (consumer?: string) => ControlReader
beforeEach(() => {
  const store = openStore()
  redis = store.redis
  keys = store.keys
  bare = store.bare
  writer = new ControlWriter(store.redis, keys)
  const streams = lanesOf(['a', 'b', 'c'], keys)
  reader = (consumer = 'w') =>
    new ControlReader({
      redis: store.redis,
      blocking: store.connections.client('blocking'),
      streams,
      group: 'g',
      consumer,
    })
})
/** What a read of at most `budget` brings. */
const take = async (from: ControlReader, budget: number, streams: readonly ControlStream[] = from.streams) =>
  (await from.take(atMost(budget, streams))).entries
const put = (...items: [capability: string, data: string][]) =>
  writer.enqueue(items.map(([capability, data]) => ({ capability, data })))
const brief = (entries: readonly { stream: { capability: string }; id: string; raw: readonly unknown[] }[]) =>
  entries.map(({ stream, raw }) => `${stream.capability}${(raw[1] as string[])[1]}`)

test('what the writer puts there the reader takes, with its stream and its id', async () => {
  const ids = await put(['a', '1'], ['b', '2'], ['a', '3'])
  const own = reader()
  await own.ensureGroups()
  const entries = await take(own, 10)
  expect(brief(entries).sort()).toEqual(['a1', 'a3', 'b2'])
  expect(entries.map(({ id }) => id).sort()).toEqual([...ids].sort())
  expect(entries.every(({ deliveries }) => deliveries === 1)).toBe(true)
  expect(await take(own, 10)).toEqual([])
})

test('lanes are streams of their own', async () => {
  await writer.enqueue([
    { capability: 'a', data: 'h', priority: 'high' },
    { capability: 'a', data: 'n', priority: 'normal' },
    { capability: 'a', data: 'l', priority: 'low' },
  ])
  expect(await Promise.all(['', ':high', ':low'].map((suffix) => bare.xlen(`${keys.control('a')}${suffix}`)))).toEqual([
    1, 1, 1,
  ])
})

test('what is written to several lanes at once has an id for each, also where the clock goes on or has gone back', async () => {
  const [ahead] = await bare.time()
  await bare.xadd(keys.control('c'), `${Number(ahead) + 60}000-7`, 'data', '0')
  const lanes = ['a', 'b', 'c'].flatMap((capability) =>
    (['high', 'normal', 'low'] as const).map((priority) => ({ capability, priority, data: '1' })),
  )
  // So many that Redis' clock goes on meanwhile.
  const ids = await writer.enqueue(Array.from({ length: 500 }, () => lanes).flat())
  expect(new Set(ids).size).toBe(4_500)
  expect(ids[7]).toMatch(new RegExp(`^${Number(ahead) + 60}000-`))
})

test('groups are made once, at the beginning of the stream, also by several at once', async () => {
  await put(['a', 'before'])
  await Promise.all([reader().ensureGroups(), reader('x').ensureGroups(), reader('y').ensureGroups()])
  const own = reader()
  await own.ensureGroups()
  expect(brief(await take(own, 10))).toEqual(['abefore'])
})

test('a wrong kind of key is an error, not taken for a group that exists', async () => {
  await bare.set(keys.control('b'), 'no stream')
  await expect(reader().ensureGroups()).rejects.toThrow(/WRONGTYPE/)
})

test('a take asks the given streams only, and never takes more than its budget', async () => {
  await put(['a', '1'], ['a', '2'], ['a', '3'], ['b', '1'], ['b', '2'], ['c', '1'])
  const own = reader()
  await own.ensureGroups()
  const normal = own.streams.filter(({ priority }) => priority === 'normal')
  expect(brief(await take(own, 3, normal.slice(0, 2)))).toEqual(['a1', 'b1', 'a2'])
  expect(brief(await take(own, 2))).toEqual(['a3', 'b2'])
  expect(await own.take(atMost(1, own.streams), true)).toMatchObject({ ends: undefined, fault: undefined })
})

test('the ends of empty streams are known, and something beyond them is waited for and not taken', async () => {
  await put(['a', '1'])
  const own = reader()
  await own.ensureGroups()
  const { entries, ends = new Map() } = await own.take(atMost(9, own.streams), true)
  expect([...ends.keys()]).toEqual(own.streams.map(({ key }) => key))
  expect(ends.get(keys.control('a'))).toBe(entries[0]?.id)
  const waiting = own.waitBeyond(ends)
  await writer.enqueue([{ capability: 'b', data: 'x', priority: 'low' }])
  expect((await waiting).map(({ key }) => key)).toEqual([keys.control('b', 'low')])
  expect(brief(await take(own, 9))).toEqual(['bx'])
})

test('a group that is gone is told beside what was taken', async () => {
  await put(['a', '1'])
  const own = reader()
  await own.ensureGroups()
  await bare.del(keys.control('c', 'low'))
  const [normal, low] = [3, 8].map((index) => own.streams[index] as ControlStream) as [ControlStream, ControlStream]
  const steps = [0, 1].map((first) => ({ first, count: 1, most: 5 }))
  const { entries, fault } = await own.take({ budget: 5, streams: [normal, low], steps })
  expect(brief(entries)).toEqual(['a1'])
  expect(fault?.message).toMatch(/NOGROUP/)
})

test('an entry that is given back stays in its lane, with its turn', async () => {
  await writer.enqueue([{ capability: 'a', data: 'x', priority: 'high', turn: '3' }])
  const own = reader()
  await own.ensureGroups()
  const [entry] = await take(own, 1)
  expect(entry?.stream).toEqual({ capability: 'a', priority: 'high', key: keys.control('a', 'high') })
  await own.release(entry === undefined ? [] : [entry])
  const [again] = await take(own, 1)
  expect(again).toMatchObject({ stream: { priority: 'high' }, raw: [expect.any(String), ['data', 'x', 'turn', '3']] })
  expect(again?.id).not.toBe(entry?.id)
})

test('beyond its limit an envelope is refused, each lane for itself', async () => {
  const one = { capability: 'a', data: 'x', limit: 2 }
  const ids = await writer.enqueue([one, one, one, { ...one, priority: 'low' }, { ...one, limit: 0 }])
  expect(ids.map((id) => id === null)).toEqual([false, false, true, false, false])
  expect(await Promise.all([bare.xlen(keys.control('a')), bare.xlen(keys.control('a', 'low'))])).toEqual([3, 1])
})

test('a blocked read brings what comes, from any stream', async () => {
  const own = reader()
  await own.ensureGroups()
  const waiting = own.block(5)
  await put(['c', 'x'])
  expect(brief(await waiting)).toEqual(['cx'])
})

test('a blocked read can be ended early; nothing that comes then is lost', async () => {
  const own = reader()
  await own.ensureGroups()
  expect(await own.unblock()).toBe(false)
  const waiting = own.block(5)
  await take(own, 1)
  while (!(await own.unblock())) await new Promise(setImmediate)
  expect(await waiting).toEqual([])
  await put(['a', 'x'])
  expect(brief(await own.block(5))).toEqual(['ax'])
})

test('settled entries are gone, released ones are there for others', async () => {
  await put(['a', '1'], ['a', '2'], ['b', '3'])
  const [own, other] = [reader(), reader('other')]
  await own.ensureGroups()
  const entries = await take(own, 5)
  const first = entries.filter((entry) => brief([entry])[0] === 'a1')
  await own.settle(new Map([[keys.control('a'), first.map(({ id }) => id)]]))
  await own.settle(new Map())
  await own.release(entries.filter((entry) => !first.includes(entry)))
  expect(await bare.xlen(keys.control('a'))).toBe(1)
  expect(brief(await take(other, 5)).sort()).toEqual(['a2', 'b3'])
})

test('acks that have waited long enough to be thousands go in one call', async () => {
  const key = keys.control('a')
  const count = 9_000
  await put(...Array.from({ length: count }, (): [string, string] => ['a', 'x']))
  const own = reader()
  await own.ensureGroups()
  await bare.xreadgroup('GROUP', 'g', 'w', 'COUNT', count, 'STREAMS', key, '>')
  const ids = (await bare.xrange(key, '-', '+')).map(([id]) => id)
  await own.settle(new Map([[key, ids]]))
  expect(await bare.xlen(key)).toBe(0)
  expect(await bare.xpending(key, 'g')).toEqual([0, null, null, null])
})

/** Two entries that a consumer was handed, and a reader that bears its name. */
async function unheardOf() {
  const key = keys.control('a')
  await put(['a', '1'], ['a', '2'])
  const own = reader()
  await own.ensureGroups()
  await bare.xreadgroup('GROUP', 'g', 'w', 'STREAMS', key, '>')
  const [first, second] = (await bare.xrange(key, '-', '+')).map(([id]) => id) as [string, string]
  return { own, key, first, second }
}

test('what was handed out and never heard of is taken again, but not from one who has taken it over meanwhile', async () => {
  const { own, key, first, second } = await unheardOf()
  const script = redis.script.bind(redis)
  vi.spyOn(redis, 'script').mockImplementation(async (...call) => {
    await bare.xclaim(key, 'g', 'other', 0, first)
    await sleep(50)
    return script(...call)
  })
  const taken = await own.takeUnheard(() => false)
  expect(taken.map(({ id, deliveries }) => [id, deliveries])).toEqual([[second, 1]])
  const pending = (await bare.xpending(key, 'g', '-', '+', 10)) as [string, string][]
  expect(pending.map(([id, consumer]) => [id, consumer])).toEqual([
    [first, 'other'],
    [second, 'w'],
  ])
})

test('what was let go is not taken for what was not heard of', async () => {
  const { own, key, first, second } = await unheardOf()
  expect(await new ControlLeases(redis, 'g', 'w').surrender(key, [first])).toBe(1)
  expect((await own.takeUnheard(() => false)).map(({ id }) => id)).toEqual([second])
})

test('more streams than fit on the stack of a script are asked all the same', { timeout: 60_000 }, async () => {
  const streams = lanesOf(
    Array.from({ length: 4_200 }, (_, i) => `c-${i}`),
    keys,
  ).filter(({ priority }) => priority === 'normal')
  const own = new ControlReader({ redis, blocking: redis, streams, group: 'g', consumer: 'w' })
  await own.ensureGroups()
  await put(['c-0', '1'], ['c-0', '2'], ['c-1999', '1'], ['c-2000', '1'], ['c-4199', '1'])
  const { entries, ends } = await own.take(atMost(10_000, streams), true)
  expect(brief(entries).sort()).toEqual(['c-01', 'c-02', 'c-19991', 'c-20001', 'c-41991'])
  expect(ends?.size).toBe(4_200)
  // Nor with less room than streams.
  await put(['c-5', '1'], ['c-3000', '1'])
  expect(brief(await take(own, 2_500))).toEqual(['c-51', 'c-30001'])
})

test('an entry with more fields than fit on the stack of a script keeps its place, and no other one from going back', async () => {
  const own = reader()
  await own.ensureGroups()
  await put(['a', '1'])
  const many = Array.from({ length: 4_100 }, (_, i) => [`field-${i}`, 'x']).flat()
  const id = await bare.xadd(keys.control('a'), '*', ...many)
  await put(['a', '2'])
  const entries = await take(own, 10)
  expect(entries).toHaveLength(3)
  await own.release(entries)
  expect(brief(await take(own, 10))).toEqual(['a1', 'a2'])
  const [pending] = (await bare.xpending(keys.control('a'), 'g', 'IDLE', 86_400_000, '-', '+', 10)) as unknown[][]
  expect([pending?.[0], pending?.[3]]).toEqual([id, 0])
})
