import type { Redis } from 'ioredis'
import { beforeEach, expect, test } from 'vitest'
import type { Keys } from '../../src/redis/keys.ts'
import { ControlReader, ControlWriter } from '../../src/store/control-streams.ts'
import { openStore } from '../redis/harness.ts'

let keys: Keys
let bare: Redis
let writer: ControlWriter
let reader: (consumer?: string) => ControlReader
beforeEach(() => {
  const store = openStore()
  keys = store.keys
  bare = store.bare
  writer = new ControlWriter(store.redis, keys)
  const streams = ['a', 'b', 'c'].map((capability) => ({
    capability,
    priority: 'normal' as const,
    key: keys.control(capability),
  }))
  reader = (consumer = 'w') =>
    new ControlReader({
      redis: store.redis,
      blocking: store.connections.client('blocking'),
      streams,
      group: 'g',
      consumer,
    })
})
const put = (...items: [capability: string, data: string][]) =>
  writer.enqueue(items.map(([capability, data]) => ({ capability, data })))
const brief = (entries: readonly { stream: { capability: string }; id: string; raw: readonly unknown[] }[]) =>
  entries.map(({ stream, raw }) => `${stream.capability}${(raw[1] as string[])[1]}`)

test('what the writer puts there the reader takes, with its stream and its id', async () => {
  const ids = await put(['a', '1'], ['b', '2'], ['a', '3'])
  const own = reader()
  await own.ensureGroups()
  const entries = await own.take(own.streams, 10)
  expect(brief(entries).sort()).toEqual(['a1', 'a3', 'b2'])
  expect(entries.map(({ id }) => id).sort()).toEqual([...ids].sort())
  expect(entries.every(({ deliveries }) => deliveries === 1)).toBe(true)
  expect(await own.take(own.streams, 10)).toEqual([])
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

test('groups are made once, at the beginning of the stream, also by several at once', async () => {
  await put(['a', 'before'])
  await Promise.all([reader().ensureGroups(), reader('x').ensureGroups(), reader('y').ensureGroups()])
  const own = reader()
  await own.ensureGroups()
  expect(brief(await own.take(own.streams, 10))).toEqual(['abefore'])
})

test('a wrong kind of key is an error, not taken for a group that exists', async () => {
  await bare.set(keys.control('b'), 'no stream')
  await expect(reader().ensureGroups()).rejects.toThrow(/WRONGTYPE/)
})

test('a take asks the given streams only, and bounds each', async () => {
  await put(['a', '1'], ['a', '2'], ['a', '3'], ['b', '1'], ['b', '2'], ['c', '1'])
  const own = reader()
  await own.ensureGroups()
  expect(brief(await own.take(own.streams.slice(0, 2), 2))).toEqual(['a1', 'a2', 'b1', 'b2'])
  expect(brief(await own.take(own.streams, 2))).toEqual(['a3', 'c1'])
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
  await own.take(own.streams, 1)
  while (!(await own.unblock())) await new Promise(setImmediate)
  expect(await waiting).toEqual([])
  await put(['a', 'x'])
  expect(brief(await own.block(5))).toEqual(['ax'])
})

test('settled entries are gone, released ones are there for others', async () => {
  await put(['a', '1'], ['a', '2'], ['b', '3'])
  const [own, other] = [reader(), reader('other')]
  await own.ensureGroups()
  const entries = await own.take(own.streams, 5)
  const first = entries.filter((entry) => brief([entry])[0] === 'a1')
  await own.settle(new Map([[keys.control('a'), first.map(({ id }) => id)]]))
  await own.settle(new Map())
  await own.release(entries.filter((entry) => !first.includes(entry)))
  expect(await bare.xlen(keys.control('a'))).toBe(1)
  expect(brief(await other.take(other.streams, 5)).sort()).toEqual(['a2', 'b3'])
})
