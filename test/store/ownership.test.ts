import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { TerminalStatus } from '../../src/protocol/status.ts'
import type { RedisClient } from '../../src/redis/client.ts'
import type { Keys } from '../../src/redis/keys.ts'
import type { BeginAnswer } from '../../src/store/begin-answer.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { endedFence } from '../../src/store/fence.ts'
import { type TaskInfo, TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { openStore } from '../redis/harness.ts'

const RETENTION = { resultTtlMs: 50_000, streamTtlMs: 60_000, streamMaxLength: 1_000 }
let records: TaskRecords
let writer: DataWriter
let keys: Keys
let bare: Redis
let redis: RedisClient

beforeEach(() => {
  const store = openStore()
  keys = store.keys
  bare = store.bare
  redis = store.redis
  records = new TaskRecords(store.redis, keys)
  writer = new DataWriter(store.redis, keys, RETENTION)
})

const ref = (messageId: string) => ({ sessionId: 's', messageId })
const task = (messageId: string) => ({
  ...ref(messageId),
  ...{ agentType: 'agent', traceId: 'trace', parentMessageId: 'parent', userCode: 'user' },
})
const record = (messageId: string) => keys.task('s', messageId)
const admit = (...messageIds: string[]) => records.admit(messageIds.map(task))
const begin = (worker: string, ...entries: [messageId: string, entryId: string][]) =>
  records.begin(
    worker,
    entries.map(([messageId, entryId]) => ({ ...ref(messageId), entryId, turn: '' })),
  )
const beginOne = async (worker: string, messageId: string, entryId = '1-0') =>
  (await begin(worker, [messageId, entryId]))[0] as BeginAnswer
const fence = (messageId: string) => bare.hget(record(messageId), 'fence')

interface Write {
  readonly id?: string
  readonly fence: string
  readonly first?: number
  readonly events?: string[]
  readonly end?: TerminalStatus
  readonly fields?: Record<string, string>
}
/** All writes in one call. */
const commit = (...writes: Write[]) =>
  Promise.all(
    writes.map(({ id = 'm', fence: held, first = 1, events = [], end, fields = {} }) =>
      writer.commit(() => ({
        ...{ ...ref(id), fence: held, first, events },
        ...(end === undefined ? {} : { end: { fence: endedFence(held, end), fields } }),
      })),
    ),
  )
const stream = async () => (await bare.xrange(keys.data('s'), '-', '+')).map(([, fields]) => fields[1])
const now = async () => {
  const [seconds, micros] = (await bare.time()).map(Number) as [number, number]
  return seconds * 1000 + Math.floor(micros / 1000)
}

describe('admit', () => {
  test('makes records once; what is there stays as it is', async () => {
    const before = await now()
    expect(await admit('m-1', 'm-2')).toEqual([true, true])
    const made = await records.get(ref('m-1'))
    expect(made).toEqual({
      ...task('m-1'),
      ...{
        status: 'QUEUED',
        workerId: '',
        attempt: 0,
        epoch: 0,
        dueAt: null,
        expiresAt: null,
        startedAt: null,
        finishedAt: null,
        createdAt: expect.any(Number),
      },
    })
    expect(made?.createdAt).toBeGreaterThanOrEqual(before)
    await beginOne('w', 'm-1')
    expect(await admit('m-1', 'm-3', 'm-3')).toEqual([false, true, false])
    expect(await records.get(ref('m-1'))).toMatchObject({
      status: 'RUNNING',
      workerId: 'w',
      createdAt: made?.createdAt,
    })
    expect((await records.listSession('s')).map(({ messageId }) => messageId)).toEqual(['m-1', 'm-2', 'm-3'])
  })

  test('a task that has ended is not made anew', async () => {
    await admit('m')
    await beginOne('w', 'm')
    await commit({ fence: 'R:1:1-0:w', events: ['done'], end: 'COMPLETED' })
    const before = await records.get(ref('m'))
    expect(await admit('m')).toEqual([false])
    expect(await records.get(ref('m'))).toEqual(before)
  })
})

describe('begin', () => {
  test('binds the entry and takes ownership; the epoch grows, the number of the attempt does not', async () => {
    await admit('m')
    expect(await beginOne('w-1', 'm')).toEqual({
      status: 'begun',
      epoch: 1,
      written: 0,
      createdAt: expect.any(Number),
      fence: 'R:1:1-0:w-1',
      ...{ attempt: 1, cancel: null, isExpired: false, life: 0, replay: null },
    })
    expect(await fence('m')).toBe('R:1:1-0:w-1')
    // The same entry, delivered again: to another worker after the first one died, or to the same one.
    expect(await beginOne('w-2', 'm')).toMatchObject({ epoch: 2, fence: 'R:2:1-0:w-2' })
    expect(await beginOne('w-2', 'm')).toMatchObject({ epoch: 3 })
    expect(await records.get(ref('m'))).toMatchObject({ status: 'RUNNING', workerId: 'w-2', attempt: 1, epoch: 3 })
    const { createdAt, startedAt } = (await records.get(ref('m'))) as TaskInfo
    expect(startedAt).toBeGreaterThanOrEqual(createdAt)
  })

  test('another entry of the same task is stale', async () => {
    await admit('m')
    const answers = await begin('w', ['m', '1-0'], ['m', '2-0'])
    expect(answers.map(({ status }) => status)).toEqual(['begun', 'stale'])
    expect(await beginOne('w-2', 'm', '2-0')).toEqual({ status: 'stale' })
    expect(await fence('m')).toBe('R:1:1-0:w')
  })

  test('a task without a record is missing, one with an end is ended; the rest is not touched by that', async () => {
    await admit('ended', 'new')
    await beginOne('w', 'ended')
    await commit({ id: 'ended', fence: 'R:1:1-0:w', events: ['done'], end: 'COMPLETED' })
    const answers = await begin('w', ['ended', '1-0'], ['nobody', '2-0'], ['new', '3-0'])
    expect(answers.map(({ status }) => status)).toEqual(['ended', 'missing', 'begun'])
    expect(await bare.exists(record('nobody'))).toBe(0)
    expect(await records.get(ref('ended'))).toMatchObject({ status: 'COMPLETED', attempt: 1 })
  })

  test('tells how much earlier attempts have said', async () => {
    await admit('m')
    await beginOne('w', 'm')
    await commit({ fence: 'R:1:1-0:w', events: ['a', 'b', 'c'] })
    expect(await beginOne('w-2', 'm')).toMatchObject({ epoch: 2, written: 3 })
  })

  test('worker ids may hold colons and whatever else an id may', async () => {
    await admit('m')
    await beginOne('w:1:%d', 'm')
    expect(await records.get(ref('m'))).toMatchObject({ workerId: 'w:1:%d' })
    const answer = await beginOne('x', 'm')
    expect(await commit({ fence: answer.status === 'begun' ? answer.fence : '', events: ['a'] })).toMatchObject([
      { ok: true },
    ])
  })
})

describe('commit', () => {
  const OURS = 'R:1:1-0:w'
  beforeEach(async () => {
    await admit('m')
    await beginOne('w', 'm')
  })

  test('appends events in order, answers the last id, keeps the count', async () => {
    const [answer] = await commit({ fence: OURS, events: ['a', 'b'] })
    expect(await stream()).toEqual(['a', 'b'])
    const lastId = (await bare.xrevrange(keys.data('s'), '+', '-', 'COUNT', 1))[0]?.[0]
    expect(answer).toEqual({ ok: true, lastId })
    await commit({ fence: OURS, first: 3, events: ['c'] })
    expect(await stream()).toEqual(['a', 'b', 'c'])
    expect(await beginOne('w-2', 'm')).toMatchObject({ written: 3 })
  })

  test('a repeated call writes nothing twice; one that overlaps writes what is missing', async () => {
    const first = await commit({ fence: OURS, events: ['a', 'b'] })
    expect(await commit({ fence: OURS, events: ['a', 'b'] })).toEqual(first)
    await commit({ fence: OURS, first: 2, events: ['b', 'c'] })
    expect(await stream()).toEqual(['a', 'b', 'c'])
    await commit({ fence: OURS, first: 1, events: ['a'] })
    expect(await stream()).toEqual(['a', 'b', 'c'])
    expect(await beginOne('w-2', 'm')).toMatchObject({ written: 3 })
  })

  test('an owner of before is refused and told who holds it; nothing of him is written', async () => {
    await beginOne('w-2', 'm')
    const before = await bare.hgetall(record('m'))
    expect(await commit({ fence: OURS, events: ['zombie'], end: 'COMPLETED', fields: { result: '1' } })).toEqual([
      { ok: false, holder: 'R:2:1-0:w-2' },
    ])
    expect(await stream()).toEqual([])
    expect(await bare.hgetall(record('m'))).toEqual(before)
    expect(await bare.pttl(record('m'))).toBe(-1)
  })

  test('a record that is gone, and a task that has ended, refuse too; its own end repeated is no refusal', async () => {
    expect(await commit({ id: 'nobody', fence: OURS, events: ['x'] })).toEqual([{ ok: false, holder: '' }])
    expect(await bare.exists(record('nobody'))).toBe(0)
    await commit({ fence: OURS, events: ['done'], end: 'COMPLETED' })
    expect(await commit({ fence: OURS, first: 2, events: ['late'] })).toEqual([{ ok: false, holder: 'C:1:1-0:w' }])
    expect(await commit({ fence: OURS, events: ['done'], end: 'FAILED' })).toEqual([{ ok: false, holder: 'C:1:1-0:w' }])
    expect(await commit({ fence: OURS, events: ['done'], end: 'COMPLETED' })).toEqual([{ ok: true, lastId: '' }])
    expect(await stream()).toEqual(['done'])
  })

  test.each<TerminalStatus>(['COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED'])(
    'the end %s is written with its event, its fields and its time to live',
    async (end) => {
      const fields = { result: '{"x":1}', content: 'y' }
      expect(await commit({ fence: OURS, events: ['a', 'done'], end, fields })).toEqual([{ ok: true, lastId: '' }])
      const [[endId]] = (await bare.xrevrange(keys.data('s'), '+', '-', 'COUNT', 1)) as [[string, string[]]]
      const task = await records.get(ref('m'))
      expect(task).toMatchObject({ status: end, finishedAt: expect.any(Number), workerId: 'w', attempt: 1 })
      expect(await records.getEnd(ref('m'))).toEqual({
        ...{ task, result: { x: 1 }, content: 'y', error: null, endId },
      })
      expect(await stream()).toEqual(['a', 'done'])
      const ttls = await Promise.all([record('m'), keys.data('s'), keys.session('s')].map((key) => bare.pttl(key)))
      expect(ttls[0]).toBeGreaterThan(RETENTION.resultTtlMs - 5_000)
      expect(ttls[0]).toBeLessThanOrEqual(RETENTION.resultTtlMs)
      expect(ttls[1]).toBeGreaterThan(RETENTION.streamTtlMs - 5_000)
      expect(ttls[2]).toBeGreaterThan(RETENTION.resultTtlMs - 5_000)
    },
  )

  test('an unfinished record has no time to live', async () => {
    await commit({ fence: OURS, events: ['a'] })
    expect(await bare.pttl(record('m'))).toBe(-1)
  })

  test('tasks of one call do not touch each other: good, refused, good', async () => {
    await admit('m-2', 'm-3')
    await begin('w', ['m-2', '2-0'], ['m-3', '3-0'])
    await beginOne('other', 'm-2', '2-0')
    const answers = await commit(
      { fence: OURS, events: ['a', 'b'], end: 'COMPLETED', fields: { result: '1', content: '2' } },
      { id: 'm-2', fence: 'R:1:2-0:w', events: ['zombie'], end: 'COMPLETED', fields: { result: '3' } },
      { id: 'm-3', fence: 'R:1:3-0:w', events: ['c'] },
    )
    expect(answers.map(({ ok }) => ok)).toEqual([true, false, true])
    expect(await stream()).toEqual(['a', 'b', 'c'])
    expect(await bare.hmget(record('m'), 'fence', 'result', 'content')).toEqual(['C:1:1-0:w', '1', '2'])
    expect(await fence('m-2')).toBe('R:2:2-0:other')
    expect(await fence('m-3')).toBe('R:1:3-0:w')
    expect(await beginOne('w', 'm-3', '3-0')).toMatchObject({ written: 1 })
  })

  test('pushes what it wrote to those who listen: the id before, the ids, the events', async () => {
    const subscriber = bare.duplicate()
    const pushes: string[] = []
    await subscriber.subscribe(keys.data('s'))
    subscriber.on('message', (_channel, payload: string) => pushes.push(payload))
    await commit({ fence: OURS, events: ['a'] })
    await commit({ fence: OURS, events: ['a'] })
    await commit({ fence: 'R:9:1-0:w', events: ['zombie'] })
    await commit({ fence: OURS, first: 2, events: ['b', 'c'] })
    await subscriber.ping()
    subscriber.disconnect()
    const ids = (await bare.xrange(keys.data('s'), '-', '+')).map(([id]) => id)
    expect(pushes).toEqual([`0-0 ${ids[0]}\na`, `${ids[0]} ${ids[1]} ${ids[2]}\nb\nc`])
  })

  test('bounds the stream', async () => {
    for (let first = 1; first <= 5_000; first += 500) {
      await commit({ fence: OURS, first, events: Array.from({ length: 500 }, (_, i) => `${first + i}`) })
    }
    const left = await stream()
    expect(left.length).toBeLessThan(1_700) // 1,000, as exactly as whole nodes of the stream and a batch allow
    expect(left.at(-1)).toBe('5000')
  })

  test('many fields, many tasks: no limit of Lua is met', async () => {
    const ids = Array.from({ length: 300 }, (_, i) => `t-${i}`)
    await admit(...ids)
    await begin('w', ...ids.map((id): [string, string] => [id, '1-0']))
    const events = Array.from({ length: 256 }, (_, i) => `${i}`)
    const answers = await commit(
      ...ids.map((id) => ({ id, fence: OURS, events, end: 'COMPLETED' as const, fields: { result: '1' } })),
    )
    expect(answers.every(({ ok }) => ok)).toBe(true)
  })

  test.each([undefined, 'COMPLETED'] as const)(
    'a stream that was deleted meanwhile is not left without a time to live (by the end %s)',
    async (end) => {
      await commit({ fence: OURS, events: ['a'] })
      await bare.del(keys.data('s'))
      await commit({ fence: OURS, first: 2, events: ['b'], ...(end === undefined ? {} : { end }) })
      expect(await bare.pttl(keys.data('s'))).toBeGreaterThan(0)
    },
  )

  test('nor is one whose first write came after a refused one', async () => {
    await commit({ fence: 'R:9:1-0:w', events: ['zombie'] })
    await commit({ fence: OURS, events: ['a'] })
    expect(await bare.pttl(keys.data('s'))).toBeGreaterThan(0)
  })

  test.each([undefined, 'COMPLETED'] as const)(
    'a session’s index forgets tasks whose records have expired (by the end %s)',
    async (end) => {
      await admit('old', 'other')
      await beginOne('w', 'old', '2-0')
      writer = new DataWriter(redis, keys, { ...RETENTION, resultTtlMs: 1 })
      await commit({ id: 'old', fence: 'R:1:2-0:w', events: ['done'], end: 'COMPLETED' })
      await waitFor(async () => (await bare.exists(record('old'))) === 0)
      expect(await bare.zrange(keys.session('s'), '0', '-1')).toEqual(['', 'm', 'old', 'other'])
      writer = new DataWriter(redis, keys, { ...RETENTION, resultTtlMs: 1 }, { chance: () => 0 })
      await commit({ fence: OURS, events: ['a'], ...(end === undefined ? {} : { end }) })
      expect(await bare.zrange(keys.session('s'), '0', '-1')).toEqual(['', 'm', 'other'])
    },
  )
})

test('a record is told as it is, also an odd one', async () => {
  expect(await records.get(ref('nobody'))).toBeNull()
  expect(await records.getEnd(ref('nobody'))).toBeNull()
  await bare.hset(record('odd'), 'fence', 'Z:x:')
  expect(await records.get(ref('odd'))).toMatchObject({ messageId: 'odd', agentType: '', createdAt: 0 })
  await admit('m')
  await beginOne('w', 'm')
  expect(await records.getEnd(ref('m'))).toEqual(await records.get(ref('m')))
  await commit({ fence: 'R:1:1-0:w', events: ['done'], end: 'FAILED', fields: { error: '{"code":"X","message":"y"}' } })
  expect(await records.getEnd(ref('m'))).toMatchObject({
    result: null,
    content: '',
    error: { code: 'X', message: 'y' },
  })
})

test('a text result is its own content', async () => {
  await admit('m')
  await beginOne('w', 'm')
  await commit({ fence: 'R:1:1-0:w', events: ['done'], end: 'COMPLETED', fields: { result: '"hello"' } })
  expect(await records.getEnd(ref('m'))).toMatchObject({ result: 'hello', content: 'hello' })
})

describe('the stream of a session', () => {
  const info = async () => {
    const flat = (await bare.xinfo('STREAM', keys.data('s'))) as unknown[]
    return new Map(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]))
  }
  const bytes = async () => Number(await bare.call('MEMORY', 'USAGE', keys.data('s')))

  test('takes what is in it when a short task has ended, and whoever waits at it has missed nothing', async () => {
    await admit('m')
    await beginOne('w', 'm')
    await bare.xgroup('CREATE', keys.data('s'), 'foreign', '0', 'MKSTREAM')
    const waiter = bare.duplicate()
    onTestFinished(() => waiter.disconnect())
    const heard = async (from: string) =>
      (await waiter.xread('BLOCK', 5_000, 'STREAMS', keys.data('s'), from))?.[0]?.[1]
    const first = heard('0')
    await commit({ fence: 'R:1:1-0:w', events: ['a'] })
    const [entry] = (await first) ?? []
    expect(entry?.[1]).toEqual(['data', 'a'])
    const large = await bytes()
    const second = heard(entry?.[0] ?? '')
    await commit({ fence: 'R:1:1-0:w', first: 2, events: ['done'], end: 'COMPLETED' })
    expect((await second)?.map(([, fields]) => fields[1])).toEqual(['done'])
    expect(await bytes()).toBeLessThan(large / 3)
    expect(await stream()).toEqual(['a', 'done'])
    const now = await info()
    expect([now.get('groups'), now.get('length')]).toEqual([1, 2])
    expect(await bare.pttl(keys.data('s'))).toBeGreaterThan(0)
    // And it goes on.
    await admit('n')
    await beginOne('w', 'n', '2-0')
    await commit({ id: 'n', fence: 'R:1:2-0:w', events: ['b', 'done'], end: 'COMPLETED' })
    expect(await stream()).toEqual(['a', 'done', 'b', 'done'])
    expect(await bare.keys(`${keys.data('s')}*`)).toEqual([keys.data('s')])
  })

  test('is left as it is where the user may not copy', async () => {
    const name = `user-${crypto.randomUUID()}`
    await bare.acl('SETUSER', name, 'on', 'nopass', '~*', '&*', '+@all', '-copy', '-rename')
    onTestFinished(async () => void (await bare.acl('DELUSER', name)))
    const own = openStore()
    await own.redis.call('AUTH', name, 'none')
    const limited = new DataWriter(own.redis, keys, RETENTION)
    await admit('m')
    await beginOne('w', 'm')
    const end = { fence: endedFence('R:1:1-0:w', 'COMPLETED'), fields: {} }
    const answer = await limited.commit(() => ({ ...ref('m'), fence: 'R:1:1-0:w', first: 1, events: ['done'], end }))
    expect(answer.ok).toBe(true)
    expect(await stream()).toEqual(['done'])
  })
})
