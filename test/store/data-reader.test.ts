import type { Redis } from 'ioredis'
import { beforeEach, expect, test } from 'vitest'
import { EventDecoder } from '../../src/protocol/event-decoder.ts'
import type { Keys } from '../../src/redis/keys.ts'
import { DataReader } from '../../src/store/data-reader.ts'
import { openStore } from '../redis/harness.ts'
import { heapUsed } from '../support/heap.ts'

let keys: Keys
let bare: Redis
let reader: DataReader
beforeEach(() => {
  const store = openStore()
  keys = store.keys
  bare = store.bare
  reader = new DataReader(store.redis, keys)
})
const add = (id: string, text = id) =>
  bare.xadd(
    keys.data('s'),
    id,
    'data',
    JSON.stringify({ event_type: 'chunk', message_id: 'm', data: { content: text } }),
  )
const ids = async (after: string, count = 10, until?: string) =>
  (await reader.page('s', after, count, until)).events.map(({ id }) => id)

test('pages go on where the last one ended, whether that entry is still there or not', async () => {
  for (const id of ['1-0', '1-1', '2-0', '3-0', '4-0']) await add(id)
  expect(await ids('0-0', 2)).toEqual(['1-0', '1-1'])
  expect(await ids('1-1', 2)).toEqual(['2-0', '3-0'])
  expect(await ids('3-0', 2)).toEqual(['4-0'])
  expect(await ids('4-0', 2)).toEqual([])
  expect(await ids('1-0', 5, '2-0')).toEqual(['1-1', '2-0'])
  expect(await ids('3-0', 5, '2-0')).toEqual([])
  expect(await ids('1-5', 2)).toEqual(['2-0', '3-0'])
  expect(await ids('9-0', 2)).toEqual([])
  await bare.xdel(keys.data('s'), '1-1')
  expect(await ids('1-1', 2)).toEqual(['2-0', '3-0'])
})

test('a page knows whether it surely follows', async () => {
  for (const id of ['1-0', '2-0', '3-0']) await add(id)
  expect((await reader.page('s', '1-0', 5)).contiguous).toBe(true)
  expect((await reader.page('s', '3-0', 5)).contiguous).toBe(true)
  await bare.xtrim(keys.data('s'), 'MINID', '3-0')
  expect((await reader.page('s', '1-0', 5)).contiguous).toBe(false)
})

test('the last id, and where trimming ended', async () => {
  expect(await reader.lastId('s')).toBe('0-0')
  expect(await reader.trimmedUpTo('s')).toBe('0-0')
  for (const id of ['1-0', '2-0', '3-0']) await add(id)
  expect(await reader.lastId('s')).toBe('3-0')
  expect(await reader.trimmedUpTo('s')).toBe('0-0')
  await bare.xtrim(keys.data('s'), 'MINID', '2-0')
  expect(await reader.trimmedUpTo('s')).toBe('2-0')
  expect(await reader.lastId('s')).toBe('3-0')
})

test('a push is taken apart: the id before, and each event with its own id', () => {
  const event = (content: string) => JSON.stringify({ event_type: 'chunk', data: { content } })
  const push = reader.parsePush(`7-0 8-0 8-1\n${event('a')}\n${event('b')}`, new EventDecoder())
  expect(push?.before).toBe('7-0')
  expect(push?.events).toMatchObject([
    { id: '8-0', type: 'chunk', content: 'a' },
    { id: '8-1', type: 'chunk', content: 'b' },
  ])
})

test.each(['', 'hello', '7-0', '7-0 8-0x', 'a b\nc', '{"id": 1}', '\n', '7-0  8-0\n{}'])(
  'what is no push of ours: %j',
  (payload) => {
    expect(reader.parsePush(payload, new EventDecoder())).toBeUndefined()
  },
)

test('what is kept of a push, its ids and the frame of its events, does not hold its text', () => {
  const push = (n: number) => {
    const event = JSON.stringify({
      ...{
        session_id: 's',
        message_id: 'm',
        event_type: 'chunk',
        timestamp: n,
        data: { content: 'x'.repeat(2_000_000) },
      },
      ...{ state_msg: '', artifact_url: '', metadata: { attempt: 1 } },
    })
    // As it comes from a socket: one flat text.
    return Buffer.from(`1700000000000-${n} 1700000000001-${n}\n${event}`).toString()
  }
  const kept: unknown[] = []
  const before = heapUsed()
  for (let n = 0; n < 20; n++) {
    const decoder = new EventDecoder()
    for (let round = 0; round < 3; round++) {
      const read = reader.parsePush(push(n), decoder)
      expect(read?.events).toHaveLength(1)
      kept.push(decoder, read?.before, read?.events[0]?.id)
    }
  }
  expect(heapUsed() - before).toBeLessThan(4_000_000)
  expect(kept).toHaveLength(180)
})
