import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { Emitter } from '../../src/context/emitter.ts'
import { decodeEvent } from '../../src/protocol/event-decoder.ts'
import { MessageHeader } from '../../src/protocol/header.ts'
import type { RedisClient } from '../../src/redis/client.ts'
import type { Keys } from '../../src/redis/keys.ts'
import type { BeginAnswer } from '../../src/store/begin-answer.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { openStore } from '../redis/harness.ts'
import { unhandledRejections } from '../support/rejections.ts'

let records: TaskRecords
let writer: DataWriter
let keys: Keys
let bare: Redis
let redis: RedisClient
let closeConnections: () => void
const header = new MessageHeader({ messageId: 'm', sessionId: 's', traceId: 't' })

beforeEach(async () => {
  const store = openStore()
  keys = store.keys
  bare = store.bare
  redis = store.redis
  closeConnections = () => store.connections.close()
  records = new TaskRecords(store.redis, keys)
  writer = new DataWriter(store.redis, keys, { resultTtlMs: 60_000, streamTtlMs: 60_000, streamMaxLength: 100_000 })
  await records.admit([{ ...header, agentType: 'agent' }])
})

/** The emitter of the next attempt. */
async function attempt(worker = 'w', coalesceMs = 0, maxBytes?: number) {
  const [answer] = await records.begin(worker, [{ sessionId: 's', messageId: 'm', entryId: '1-0', turn: '' }])
  const { epoch, fence, written } = answer as BeginAnswer & { status: 'begun' }
  const lost: string[] = []
  const emitter = new Emitter({
    ...{ writer, header, agentType: 'agent', ownership: { fence, written, attempt: epoch } },
    onLost: (holder) => lost.push(holder),
    coalesceMs,
    ...(maxBytes === undefined ? {} : { maxBytes }),
  })
  emitter.rewind()
  return { emitter, lost }
}

/** What stands in the stream, in short. */
async function said(): Promise<string[]> {
  const entries = await bare.xrange(keys.data('s'), '-', '+')
  return entries.map(([id, fields]) => {
    const event = decodeEvent(id, fields[1])
    const what = event.type === 'chunk' ? event.content : event.type
    return `${event.attempt} ${what}`
  })
}

const turns = async (count = 5) => {
  for (let i = 0; i < count; i += 1) await new Promise(setImmediate)
}

describe('an event that is too large', () => {
  const large = { code: 'GW_PAYLOAD_TOO_LARGE', details: { limit: 20_000 } }

  test.each([0, 5])(
    'is refused by its name and size, and what is said before and after it stands (coalesceMs %d)',
    async (coalesceMs) => {
      const { emitter } = await attempt('w', coalesceMs, 20_000)
      const said1 = emitter.emit({ type: 'chunk', content: 'a' })
      await expect(emitter.emit({ type: 'chunk', content: 'x'.repeat(20_000) })).rejects.toMatchObject({
        ...large,
        message: expect.stringMatching(/^the chunk event has 20\d\d\d bytes, the limit is 20000$/),
      })
      await expect(emitter.emit({ type: 'chunk', content: '\u0007'.repeat(4_000) })).rejects.toMatchObject(large)
      await expect(emitter.emit({ type: 'chunk', content: '好'.repeat(7_000) })).rejects.toMatchObject(large)
      await expect(emitter.emit({ type: 'data', data: { x: 'x'.repeat(20_000) } })).rejects.toMatchObject(large)
      await expect(emitter.emit({ type: 'state', state: 'x'.repeat(20_000) })).rejects.toMatchObject(large)
      await expect(
        emitter.emit({ type: 'artifact', artifact: { name: 'a', content: 'x'.repeat(20_000) } }),
      ).rejects.toMatchObject(large)
      const fitting = 'y'.repeat(19_000)
      await Promise.all([said1, emitter.emit({ type: 'chunk', content: fitting })])
      await emitter.end({ type: 'done', status: 'COMPLETED', result: 'z'.repeat(30_000) }, { result: '1' })
      expect(await said()).toEqual(['1 a', `1 ${fitting}`, '1 done'])
      expect(emitter.text.kept).toBe(`a${fitting}`)
    },
  )

  test('does not come of chunks that are joined', async () => {
    const { emitter } = await attempt('w', 5, 20_000)
    await Promise.all(Array.from({ length: 100 }, () => emitter.emit({ type: 'chunk', content: 'x'.repeat(300) })))
    const chunks = await said()
    expect(chunks.length).toBeLessThan(100)
    expect(Math.max(...chunks.map(({ length }) => length))).toBeLessThan(20_000)
    expect(chunks.map((chunk) => chunk.replace(/^1 /, '')).join('')).toBe('x'.repeat(30_000))
  })
})

test('an event that JSON cannot carry is refused, and is no part of the text', async () => {
  const { emitter } = await attempt()
  const about = { code: 'GW_INVALID_ARGUMENT' }
  await expect(emitter.emit({ type: 'chunk', content: 'bad' }, { n: 1n })).rejects.toMatchObject(about)
  await expect(emitter.emit({ type: 'data', data: 1n })).rejects.toMatchObject(about)
  await emitter.emit({ type: 'chunk', content: 'good' })
  expect([await said(), emitter.text.kept]).toEqual([['1 good'], 'good'])
})

describe('order', () => {
  test('holds without awaiting, over many batches and turns', async () => {
    const { emitter } = await attempt()
    const expected: string[] = []
    const emits: Promise<void>[] = []
    for (let i = 0; i < 3_000; i += 1) {
      emits.push(emitter.emit({ type: 'chunk', content: `${i}` }))
      expected.push(`1 ${i}`)
      if (i % 700 === 0) await turns(1)
    }
    await emitter.end({ type: 'done', status: 'COMPLETED', result: 1 }, { result: '1' })
    await Promise.all(emits)
    expect(await said()).toEqual([...expected, '1 done'])
  })

  test('a burst makes few calls', async () => {
    const { emitter } = await attempt()
    const calls = vi.spyOn(redis, 'script')
    await Promise.all(Array.from({ length: 500 }, (_, i) => emitter.emit({ type: 'chunk', content: `${i}` })))
    expect(calls.mock.calls.length).toBeGreaterThan(0)
    expect(calls.mock.calls.length).toBeLessThan(10)
  })

  test('an emit resolves when Redis has it, and those before it too', async () => {
    const { emitter } = await attempt()
    void emitter.emit({ type: 'chunk', content: 'a' })
    await emitter.emit({ type: 'chunk', content: 'b' })
    expect(await said()).toEqual(['1 a', '1 b'])
  })
})

describe('chunks that may be joined', () => {
  const chunk = (content: string) => ({ type: 'chunk', content }) as const

  test('become one event, until something else is said; each emit resolves with it', async () => {
    const { emitter } = await attempt('w', 5)
    const emits = ['a', 'b'].map((content) => emitter.emit(chunk(content)))
    emits.push(emitter.emit({ type: 'state', state: 'on' }), emitter.emit(chunk('c')))
    emits.push(emitter.emit(chunk('d'), { by: 'itself' }), emitter.emit(chunk('e'), undefined, 'step'))
    emits.push(emitter.emit(chunk('f'), undefined, 'step'), emitter.emit({ ...chunk('g'), role: 'assistant' }))
    await Promise.all(emits)
    const expected = ['1 ab', '1 state', '1 c', '1 d', '1 ef', '1 g']
    expect(await said()).toEqual(expected)
    expect(emitter.text.kept).toBe('abcdefg')
    const late = emitter.emit(chunk('h'))
    await emitter.end({ type: 'done', status: 'COMPLETED', result: null }, { result: 'null' })
    await late
    expect(await said()).toEqual([...expected, '1 h', '1 done'])
  })

  test('wait for others, but not longer than they may; a thousand at once are few events', async () => {
    const { emitter } = await attempt('w', 50)
    const first = emitter.emit(chunk('a'))
    await turns()
    expect(await said()).toEqual([])
    await first
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => emitter.emit(chunk(`${i % 10}`))))
    const events = await said()
    expect(events.map((text) => text.slice(2)).join('')).toBe(`a${'0123456789'.repeat(100)}`)
    expect(events.length).toBeLessThan(5)
  })

  test('are refused when the task has another owner, and do not speak after the end', async () => {
    const { emitter, lost } = await attempt('w', 5)
    await attempt('other')
    await expect(emitter.emit(chunk('a'))).rejects.toMatchObject({ code: 'GW_LEASE_LOST' })
    await expect(emitter.emit(chunk('b'))).rejects.toMatchObject({ code: 'GW_LEASE_LOST' })
    expect([await said(), lost.length]).toEqual([[], 1])
  })
})

describe('the end', () => {
  test('is the last word', async () => {
    const { emitter } = await attempt()
    const end = emitter.end({ type: 'done', status: 'COMPLETED', result: null }, { result: 'null' })
    const late = emitter.emit({ type: 'chunk', content: 'late' })
    expect(() => emitter.end({ type: 'done', status: 'FAILED' }, {})).toThrow(/task m is closed/)
    await end
    await expect(late).rejects.toMatchObject({ code: 'GW_CLOSED' })
    expect(await said()).toEqual(['1 done'])
  })

  test('goes out with all that was said before it', async () => {
    const { emitter } = await attempt()
    for (let i = 0; i < 1_000; i += 1) void emitter.emit({ type: 'chunk', content: 'x' })
    await emitter.end({ type: 'done', status: 'COMPLETED' }, { result: 'null' })
    expect(await said()).toHaveLength(1_001)
    expect(await records.get({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'COMPLETED' })
  })
})

describe('an attempt that lost its task', () => {
  test('is refused, told once, and writes nothing more', async () => {
    const first = await attempt('w-1')
    await first.emitter.emit({ type: 'chunk', content: 'mine' })
    const second = await attempt('w-2')
    const emits = Array.from({ length: 5 }, (_, i) => first.emitter.emit({ type: 'chunk', content: `zombie ${i}` }))
    for (const emit of emits) {
      await expect(emit).rejects.toMatchObject({
        ...{ code: 'GW_LEASE_LOST', message: expect.stringMatching(/task m .*R:2:1-0:w-2/) },
      })
    }
    await expect(first.emitter.emit({ type: 'data', data: 1 })).rejects.toMatchObject({ code: 'GW_LEASE_LOST' })
    expect(() => first.emitter.end({ type: 'done', status: 'COMPLETED' }, {})).toThrow(/lost its task m/)
    expect(first.lost).toEqual(['R:2:1-0:w-2'])
    await second.emitter.end({ type: 'done', status: 'COMPLETED' }, { result: '2' })
    expect(await said()).toEqual(['1 mine', '2 rewind', '2 done'])
  })

  test('and does not await its emits, harms nobody', async () => {
    const unhandled = unhandledRejections()
    const first = await attempt('w-1')
    await attempt('w-2')
    for (let i = 0; i < 300; i += 1) void first.emitter.emit({ type: 'chunk', content: 'zombie' })
    await expect(first.emitter.end({ type: 'done', status: 'COMPLETED' }, {})).rejects.toThrow(/./)
    await expect(first.emitter.emit({ type: 'chunk', content: 'x' })).rejects.toThrow(/./)
    await turns()
    expect(unhandled).toEqual([])
    expect(await said()).toEqual([])
  })
})

describe('a further attempt', () => {
  test('says first what to forget, if anything was said', async () => {
    const first = await attempt()
    await first.emitter.emit({ type: 'chunk', content: 'half' })
    const second = await attempt()
    await second.emitter.emit({ type: 'chunk', content: 'whole' })
    await second.emitter.end({ type: 'done', status: 'COMPLETED' }, { result: 'null' })
    expect(await said()).toEqual(['1 half', '2 rewind', '2 whole', '2 done'])
    const entries = await bare.xrange(keys.data('s'), '-', '+')
    expect(decodeEvent('0-0', entries[1]?.[1][1])).toMatchObject({ type: 'rewind', toId: '0-0' })
    expect(second.emitter.text.kept).toBe('whole')
  })

  test('says nothing of it if nothing was said', async () => {
    await attempt()
    const second = await attempt()
    await second.emitter.emit({ type: 'chunk', content: 'whole' })
    expect(await said()).toEqual(['2 whole'])
  })
})

test('a rewrite that is half written leaves no sum by which a later run could take the half for all', async () => {
  const { emitter } = await attempt()
  expect(emitter.sum()).toMatch(/^0:/)
  const chunk = (content: string) => ({ type: 'chunk', content }) as const
  await Promise.all(Array.from({ length: 300 }, (_, i) => emitter.emit(chunk(`${i}`))))
  const whole = emitter.sum().replace('300:', '')
  const sums = vi.spyOn(emitter, 'leaving')
  await emitter.rewrite(async () => [
    { body: { type: 'rewind', toId: '0-0' }, metadata: undefined, step: undefined },
    ...Array.from({ length: 300 }, (_, i) => ({
      ...{ body: chunk(`${i}`), metadata: undefined, step: undefined, isAgain: true },
    })),
  ])
  expect(sums.mock.results.map(({ value }) => value)).toEqual(['-', `601:${whole}`])
  expect(await bare.hget(keys.task('s', 'm'), 'sum')).toBe(`601:${whole}`)
})

describe('what JSON cannot carry', () => {
  test('is refused alone; what comes before and after goes out', async () => {
    const unhandled = unhandledRejections()
    const { emitter } = await attempt()
    const cyclic: Record<string, unknown> = {}
    cyclic.self = cyclic
    void emitter.emit({ type: 'chunk', content: 'before' })
    const bad = emitter.emit({ type: 'data', data: cyclic })
    void emitter.emit({ type: 'data', data: 1n })
    void emitter.emit({ type: 'chunk', content: 'x' }, cyclic)
    await expect(bad).rejects.toMatchObject({
      code: 'GW_INVALID_ARGUMENT',
      message: expect.stringMatching(/^the data event is invalid: /),
    })
    await emitter.end({ type: 'done', status: 'COMPLETED' }, { result: 'null' })
    await turns()
    expect(await said()).toEqual(['1 before', '1 done'])
    expect(unhandled).toEqual([])
  })

  test('as a result does not close the emitter: the task can still fail', async () => {
    const { emitter } = await attempt()
    expect(() => emitter.end({ type: 'done', status: 'COMPLETED', result: 1n }, {})).toThrow(
      /the done event is invalid/,
    )
    expect(await said()).toEqual([])
  })
})

test('a connection that is closed for good rejects what waits, and harms nobody', async () => {
  const unhandled = unhandledRejections()
  const { emitter, lost } = await attempt()
  const emit = emitter.emit({ type: 'chunk', content: 'x' })
  closeConnections()
  void emitter.emit({ type: 'chunk', content: 'y' })
  await expect(emit).rejects.toMatchObject({ code: expect.stringMatching(/^GW_/) })
  await turns()
  expect(unhandled).toEqual([])
  expect(lost).toEqual([])
})

test('the text is that of the chunks, and bounded', async () => {
  const { emitter } = await attempt()
  void emitter.emit({ type: 'chunk', content: 'a' })
  void emitter.emit({ type: 'state', state: 'no' })
  void emitter.emit({ type: 'chunk', content: 'b' })
  expect(emitter.text.kept).toBe('ab')
  for (let i = 0; i < 40; i += 1) void emitter.emit({ type: 'chunk', content: 'x'.repeat(10_000) })
  expect(emitter.text.kept.length).toBeLessThan(300_000)
  await emitter.emit({ type: 'chunk', content: 'end' })
})
