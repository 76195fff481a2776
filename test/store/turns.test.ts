import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Keys } from '../../src/redis/keys.ts'
import { Agenda } from '../../src/store/agenda.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { endedFence, parkedFence } from '../../src/store/fence.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { openStore } from '../redis/harness.ts'

const DAY_MS = 86_400_000
let store: ReturnType<typeof openStore>
let records: TaskRecords
let writer: DataWriter
let agenda: Agenda
let keys: Keys
let bare: Redis

beforeEach(() => {
  store = openStore()
  keys = store.keys
  bare = store.bare
  records = new TaskRecords(store.redis, keys)
  writer = new DataWriter(store.redis, keys, { resultTtlMs: 50_000, streamTtlMs: 60_000, streamMaxLength: 1_000 })
  agenda = new Agenda(store.redis, keys)
})

const ref = { sessionId: 's', messageId: 'm' }
const task = { ...ref, agentType: 'agent', traceId: 't', parentMessageId: '', userCode: '' }
const record = () => keys.task('s', 'm')
const begin = async (entryId: string, turn = '', worker = 'w-2') =>
  (await records.begin(worker, [{ ...ref, entryId, turn }]))[0]
/** A record with this ownership, as if it had come to it by itself. */
const hold = (fence: string, fields: Record<string, string> = {}) =>
  bare.hset(record(), { fence, created_at: '1', ...fields })
const fence = () => bare.hget(record(), 'fence')
/** Ends or parks the task as somebody whose ownership is `held`. */
const leave = (held: string, next: string, fields: Record<string, string> = {}, first = 1) =>
  writer.commit(() => ({ ...ref, fence: held, first, events: ['{}'], end: { fence: next, fields } }))

describe('begin: which entry may run', () => {
  test.each([
    // fence of the record, entry, its turn, answer
    ['Q:0::', '1-0', '', 'begun'],
    ['Q:0::', '1-0', '0', 'begun'],
    ['Q:0::', '1-0', '1', 'stale'],
    ['Q:4::', '9-0', '4', 'begun'],
    ['Q:4::', '9-0', '', 'stale'],
    ['D:0::', '1-0', '', 'stale'],
    ['D:0::', '1-0', '0', 'begun'],
    ['T:1:1-0:', '2-0', '1', 'begun'],
    ['T:1:1-0:', '2-0', '', 'stale'],
    ['T:1:1-0:', '2-0', '0', 'stale'],
    ['T:2:2-0:', '3-0', '1', 'stale'],
    ['T:1:1-0:', '1-0', '', 'parked'],
    ['T:2:2-0:', '2-0', '1', 'parked'],
    ['R:1:1-0:w', '1-0', '', 'begun'],
    ['R:1:1-0:w', '2-0', '', 'stale'],
    ['R:2:2-0:w', '2-0', '1', 'begun'],
    ['R:2:2-0:w', '3-0', '1', 'stale'],
    ['R:2:2-0:w', '3-0', '2', 'stale'],
    ['C:1:1-0:w', '1-0', '', 'ended'],
    ['F:1:1-0:w', '1-0', '', 'failed'],
    ['F:2:2-0:w', '1-0', '', 'ended'],
    ['X:0::', '1-0', '', 'ended'],
    ['X:1:1-0:w', '1-0', '', 'ended'],
    ['X:0::', '1-0', '0', 'ended'],
    ['E:0::', '1-0', '', 'ended'],
  ])('%s, entry %s with turn %j: %s', async (held, entryId, turn, status) => {
    await hold(held)
    const answer = await begin(entryId, turn)
    expect(answer?.status).toBe(status)
    const epoch = Number(held.split(':')[1]) + 1
    if (answer?.status === 'begun') expect(answer.fence).toBe(`R:${epoch}:${entryId}:w-2`)
    expect(await fence()).toBe(answer?.status === 'begun' ? `R:${epoch}:${entryId}:w-2` : held)
  })

  test('of ten entries with the right turn one runs, and the others never will', async () => {
    await hold('T:1:1-0:', { failures: '1' })
    const entries = Array.from({ length: 10 }, (_, i) => ({ ...ref, entryId: `${i + 2}-0`, turn: '1' }))
    const first = await records.begin('w', entries)
    expect(first.map(({ status }) => status)).toEqual(['begun', ...Array.from({ length: 9 }, () => 'stale')])
    expect(first[0]).toMatchObject({ attempt: 2, epoch: 2 })
    await leave('R:2:2-0:w', 'T:2:2-0:', { due_at: '0', failures: '2' })
    const later = await records.begin('w', entries.slice(1))
    expect(later.every(({ status }) => status === 'stale')).toBe(true)
    expect(await begin('99-0', '2')).toMatchObject({ status: 'begun', attempt: 3, epoch: 3 })
  })

  test('a takeover makes no attempt: the epoch grows, the attempt stays', async () => {
    await records.admit([task])
    expect(await begin('1-0')).toMatchObject({ attempt: 1, epoch: 1 })
    expect(await begin('1-0')).toMatchObject({ attempt: 1, epoch: 2 })
    await leave('R:2:1-0:w-2', parkedFence('R:2:1-0:w-2'), { due_at: '7', failures: '1' })
    expect(await fence()).toBe('T:2:1-0:')
    expect(await begin('2-0', '2')).toMatchObject({ attempt: 2, epoch: 3 })
    expect(await begin('2-0', '2', 'w-3')).toMatchObject({ attempt: 2, epoch: 4 })
  })

  test('a call that was sent again after a lost reply is a takeover from oneself', async () => {
    await records.admit([task])
    const [first, second] = [await begin('1-0'), await begin('1-0')]
    expect([first, second]).toMatchObject([{ epoch: 1 }, { epoch: 2 }])
    expect(await leave('R:1:1-0:w-2', 'C:1:1-0:w-2')).toMatchObject({ ok: false, holder: 'R:2:1-0:w-2' })
    expect(await leave('R:2:1-0:w-2', 'C:2:1-0:w-2')).toMatchObject({ ok: true })
  })
})

describe('begin: a task that another version began', () => {
  const other = () => new TaskRecords(store.redis, keys, ['2'])
  const takeUp = async (entryId: string, turn = '') => (await other().begin('w-2', [{ ...ref, entryId, turn }]))[0]
  const begun = { journal: 'journal', version: '1 1' }

  test.each([
    ['R:1:1-0:w', '1-0', '', 'Q:2:1-0:'],
    ['Q:1::', '2-0', '1', 'Q:2:2-0:'],
    ['T:1:1-0:', '2-0', '1', 'T:2:2-0:'],
  ])('is left to that: %s, entry %s with turn %j', async (held, entryId, turn, left) => {
    await hold(held, begun)
    expect(await takeUp(entryId, turn)).toEqual({ status: 'elsewhere', version: '1', epoch: 2 })
    expect(await fence()).toBe(left)
    expect(await bare.hget(record(), 'lane_version')).toBe('1')
  })

  test('is anybody’s if one without a version has run it since', async () => {
    await hold('R:2:1-0:w', begun)
    expect(await takeUp('1-0')).toMatchObject({ status: 'begun', epoch: 3 })
  })

  test('is ended by anybody once it is cancelled', async () => {
    await hold('R:1:1-0:w', { ...begun, cancel: '{}' })
    expect(await takeUp('1-0')).toMatchObject({ status: 'begun', epoch: 2, cancel: { reason: '' } })
  })
})

describe('begin: in what state the task is', () => {
  test('what a failed attempt has said is no measure for the next', async () => {
    const sumOf = async (turn: string) => {
      const answer = await begin('2-0', turn)
      return answer?.status === 'begun' ? answer.replay?.sum : answer
    }
    await hold('T:1:1-0:', { journal: 'journal', sum: 'said' })
    expect([await sumOf('1'), await sumOf('1')]).toEqual(['', ''])
    await bare.hset(record(), 'sum', 'said')
    expect(await sumOf('1')).toBe('said')
  })

  test('parked tells when the next attempt is due', async () => {
    await records.admit([task])
    await begin('1-0', '', 'w')
    await leave('R:1:1-0:w', 'T:1:1-0:', { due_at: '60000' })
    const answer = await begin('1-0')
    expect(answer).toEqual({ status: 'parked', epoch: 1, dueInMs: expect.any(Number) })
    if (answer?.status !== 'parked') throw new Error('is not parked')
    expect(answer.dueInMs).toBeGreaterThan(50_000)
    expect(answer.dueInMs).toBeLessThanOrEqual(60_000)
  })

  test('what expired before its first start stays expired, whoever takes it over; a second attempt never does', async () => {
    await records.admit([{ ...task, expiresInMs: 1 }])
    await bare.hset(record(), 'expires_at', '1')
    expect(await begin('1-0')).toMatchObject({ status: 'begun', isExpired: true })
    expect(await begin('1-0')).toMatchObject({ status: 'begun', isExpired: true, epoch: 2 })
    expect(await records.get(ref)).toMatchObject({ startedAt: null, attempt: 0 })
    await bare.hdel(record(), 'expires_at')
    expect(await begin('1-0')).toMatchObject({ isExpired: false })
    await bare.hset(record(), 'expires_at', '1')
    expect(await begin('1-0')).toMatchObject({ isExpired: false, epoch: 4 })
  })

  test('a cancel is handed over with the task', async () => {
    await records.admit([task])
    await begin('1-0')
    await records.requestCancel(ref, { reason: 'why', requestedBy: 'who' })
    await records.requestCancel(ref, { reason: 'later', requestedBy: '' })
    expect(await begin('1-0')).toMatchObject({ cancel: { reason: 'why', requestedBy: 'who' } })
  })

  test('times need not be whole numbers', async () => {
    await records.admit([{ ...task, delayMs: 0.5, expiresInMs: 1.5 }])
    expect(await fence()).toBe('D:0::')
    const [created, due, expires] = (await bare.hmget(record(), 'created_at', 'due_at', 'expires_at')).map(Number)
    expect([Number(due) - Number(created), Number(expires) - Number(created)]).toEqual([1, 2])
  })
})

describe('a cancelled task', () => {
  beforeEach(async () => {
    await records.admit([task])
    await begin('1-0', '', 'w')
    await records.requestCancel(ref, { reason: 'why', requestedBy: '' })
  })

  test.each(['C', 'F', 'T', 'E'])('does not go over to %s', async (letter) => {
    const next = `${letter}:1:1-0:w`
    expect(await leave('R:1:1-0:w', next, { due_at: '1' })).toEqual({
      ...{ ok: false, holder: 'R:1:1-0:w', cancel: { reason: 'why', requestedBy: '' } },
    })
    expect(await fence()).toBe('R:1:1-0:w')
    expect(await bare.exists(keys.data('s'))).toBe(0)
  })

  test('still speaks, and goes over to X', async () => {
    const spoken = await writer.commit(() => ({ ...ref, fence: 'R:1:1-0:w', first: 1, events: ['{}'] }))
    expect(spoken.ok).toBe(true)
    expect(await leave('R:1:1-0:w', 'X:1:1-0:w', {}, 2)).toMatchObject({ ok: true })
    expect(await records.get(ref)).toMatchObject({ status: 'CANCELLED' })
  })
})

describe('who is sent by a task', () => {
  const child = { ...task, messageId: 'child', parentMessageId: 'm' }
  const cancelOf = (messageId: string) => bare.hget(keys.task('s', messageId), 'cancel')

  test('that was cancelled, is cancelled, and whom he sends, too', async () => {
    await records.admit([task])
    await begin('1-0')
    await records.admit([{ ...child, messageId: 'before' }])
    await records.requestCancel(ref, { reason: 'why', requestedBy: '' })
    await records.admit([child, { ...child, messageId: 'grandchild', parentMessageId: 'child' }])
    expect(await cancelOf('before')).toBeNull()
    expect([await cancelOf('child'), await cancelOf('grandchild')]).toEqual([await cancelOf('m'), await cancelOf('m')])
    expect(JSON.parse((await cancelOf('child')) ?? '')).toMatchObject({ reason: 'why' })
  })

  test('is told so again when it asks again, unless it has begun or has its end', async () => {
    await hold('X:1:1-0:w')
    const delayed = { ...child, messageId: 'delayed', delayMs: 60_000 }
    const told = { reason: '', requestedBy: '' }
    for (const _ of ['first', 'again']) expect(await records.admit([child, delayed])).toEqual([told, told])
    for (const fence of ['R:1:2-0:w', 'X:0::']) {
      await bare.hset(keys.task('s', 'child'), 'fence', fence)
      expect(await records.admit([child])).toEqual([false])
    }
  })

  test.each([
    ['X:1:1-0:w', '{}'],
    ['C:1:1-0:w', null],
    ['F:1:1-0:w', null],
    ['R:1:1-0:w', null],
  ])('with the fence %s, is cancelled: %s', async (held, cancel) => {
    await hold(held)
    await records.admit([child])
    expect(await cancelOf('child')).toBe(cancel)
  })
})

describe('the record of a task that was ended from outside', () => {
  const endFromOutside = async (letter: 'CANCELLED' | 'EXPIRED' = 'CANCELLED') => {
    const held = (await fence()) as string
    expect(await leave(held, endedFence(held, letter), {}, 0)).toMatchObject({ ok: true })
  }
  const ttl = () => bare.pttl(record())

  test.each(['CANCELLED', 'EXPIRED'] as const)(
    'as %s while queued waits for its entry, then lasts its time',
    async (end) => {
      await records.admit([task])
      await endFromOutside(end)
      expect(await ttl()).toBe(-1)
      expect(await begin('1-0')).toEqual({ status: 'ended' })
      expect(await ttl()).toBeGreaterThan(40_000)
      expect(await ttl()).toBeLessThanOrEqual(50_000)
      // No other entry prolongs that.
      await bare.pexpire(record(), 10_000)
      expect(await begin('2-0')).toEqual({ status: 'ended' })
      expect(await ttl()).toBeLessThanOrEqual(10_000)
    },
  )

  test('while it ran waits for its entry or for its owner', async () => {
    await records.admit([task])
    await begin('1-0')
    await endFromOutside()
    expect(await ttl()).toBe(-1)
    await records.retire(ref, 'X:9:1-0:w')
    expect(await ttl()).toBe(-1)
    await records.retire(ref, 'X:1:1-0:w-2')
    await records.retire(ref, 'X:1:1-0:w-2')
    expect(await ttl()).toBeGreaterThan(40_000)
  })

  test('while it lay on the lane of another version waits for its entry there', async () => {
    await hold('Q:2:1-0:')
    await endFromOutside()
    expect(await ttl()).toBe(-1)
  })

  test.each([
    ['D:0::', '0'],
    ['T:1:1-0:', '1'],
    ['Q:2:1-0:', '2'],
  ])('while it was on the agenda (%s) waits for the entry that may come from there', async (held, turn) => {
    await hold(held, { lane: '@w' })
    await endFromOutside()
    expect(await ttl()).toBe(-1)
    expect(await begin('2-0', turn)).toEqual({ status: 'ended' })
    expect(await ttl()).toBeGreaterThan(40_000)
  })

  test('that was cancelled before it came on the agenda lasts its time from then on', async () => {
    await hold('D:0::', { cancel: '{}' })
    await endFromOutside()
    expect(await ttl()).toBeGreaterThan(40_000)
  })
})

describe('the time to live of a session’s index', () => {
  const ttl = () => bare.pttl(keys.session('s'))

  test('has none while a task in it is held back, also when others of the session end meanwhile', async () => {
    await records.admit([{ ...task, messageId: 'late', delayMs: 10 * DAY_MS }, task])
    await begin('1-0', '', 'w')
    await leave('R:1:1-0:w', 'C:1:1-0:w')
    expect(await ttl()).toBe(-1)
  })

  test('has none during the wait for another attempt', async () => {
    await records.admit([task])
    await begin('1-0', '', 'w')
    await leave('R:1:1-0:w', 'T:1:1-0:', { due_at: String(3 * DAY_MS) })
    expect(await ttl()).toBe(-1)
  })

  test('has with the last end that of the record which is kept longest, and none again with the next task', async () => {
    const short = { resultTtlMs: 1_000, streamTtlMs: 60_000, streamMaxLength: 1_000 }
    const other = { ...task, messageId: 'other' }
    await records.admit([task, other])
    await begin('1-0', '', 'w')
    await leave('R:1:1-0:w', 'C:1:1-0:w')
    expect(await ttl()).toBe(-1)
    const end = { fence: 'X:0::', fields: {} }
    const cancel = () => ({ sessionId: 's', messageId: 'other', fence: 'Q:0::', first: 0, events: ['{}'], end })
    await new DataWriter(store.redis, keys, short).commit(cancel)
    expect(await ttl()).toBeGreaterThan(40_000)
    await records.admit([{ ...task, messageId: 'next' }])
    expect(await ttl()).toBe(-1)
  })

  test('that was lost is made anew by what a running task says, and by its end', async () => {
    await records.admit([task])
    await begin('1-0', '', 'w')
    await bare.del(keys.session('s'))
    await writer.commit(() => ({ ...ref, fence: 'R:1:1-0:w', first: 1, events: ['{}'] }))
    expect([await bare.zrange(keys.session('s'), '0', '-1'), await ttl()]).toEqual([['', 'm'], -1])
    await bare.del(keys.session('s'))
    await leave('R:1:1-0:w', 'C:1:1-0:w', {}, 2)
    expect(await bare.zrange(keys.session('s'), '0', '-1', 'WITHSCORES')).toEqual(['', '0', 'm', expect.any(String)])
    expect(await ttl()).toBeGreaterThan(40_000)
  })
})

describe('the agenda', () => {
  const item = (messageId: string, data = '{}', turn = '0') =>
    ({ kind: 'ready', turn, sessionId: 's', messageId, capability: 'agent', priority: 'normal', data }) as const
  const shardOfS = async () => {
    await agenda.add([{ item: item('probe'), delayMs: 0 }])
    for (const shard of agenda.shards) {
      if ((await bare.zcard(keys.agenda(shard).due)) > 0) return shard
    }
    throw new Error('the probe is on no shard')
  }

  test('hands out what is due, oldest first, with all that was noted, and only once for a while', async () => {
    const shard = await shardOfS()
    await agenda.remove(shard, [item('probe')])
    const data = '{"text":"with  spaces and \\u0000"}'
    await agenda.add([{ item: item('b', data, '7'), delayMs: 0 }])
    await agenda.add([{ item: { kind: 'expiry', ...ref }, delayMs: 60_000 }])
    await agenda.add([{ item: item('b', 'other', '7'), delayMs: 60_000 }])
    const first = await agenda.take(shard, 'w', false)
    expect(first).toEqual({
      isKeeper: true,
      pauseMs: expect.any(Number),
      items: [expect.objectContaining({ item: item('b', data, '7') })],
    })
    expect((await agenda.take(shard, 'w', false)).items).toEqual([])
    await agenda.remove(shard, [item('b', '', '7')])
    expect(await bare.zrange(keys.agenda(shard).due, '0', '-1')).toEqual(['expiry 0 s m'])
    expect(await bare.hlen(keys.agenda(shard).payloads)).toBe(1)
    await agenda.cancel(ref, '0')
    expect(await bare.exists(keys.agenda(shard).due, keys.agenda(shard).payloads)).toBe(0)
  })

  test('hands out no more bytes at a time than about a mebibyte', async () => {
    const shard = await shardOfS()
    const items = Array.from({ length: 200 }, (_, i) => ({ item: item(`m-${i}`, 'x'.repeat(100_000)), delayMs: 0 }))
    for (let from = 0; from < 200; from += 50) await agenda.add(items.slice(from, from + 50))
    const taken = await agenda.take(shard, 'w', false)
    expect(taken.items.length).toBeLessThan(100)
    expect(taken.pauseMs).toBe(0)
    const seen = [...taken.items]
    for (let round = 0; seen.length < 201 && round < 10; round += 1)
      seen.push(...(await agenda.take(shard, 'w', false)).items)
    expect(new Set(seen.map(({ item: { messageId } }) => messageId)).size).toBe(201)
  })

  test('has one keeper, who may leave; a keeper whose time is longer than it can be is none', async () => {
    expect(await agenda.take(0, 'w-1', false)).toMatchObject({ isKeeper: true })
    const other = await agenda.take(0, 'w-2', false)
    expect(other).toMatchObject({ isKeeper: false, items: [] })
    expect(other.pauseMs).toBeLessThanOrEqual(1_000)
    await agenda.leave(0, 'w-2')
    expect(await agenda.take(0, 'w-2', false)).toMatchObject({ isKeeper: false })
    await agenda.leave(0, 'w-1')
    expect(await agenda.take(0, 'w-2', false)).toMatchObject({ isKeeper: true })
    // The clock of the server went back by an hour: what expires by it lasts an hour longer.
    await bare.pexpire(keys.agenda(0).keeper, 3_600_000)
    expect(await agenda.take(0, 'w-3', false)).toMatchObject({ isKeeper: true })
  })

  test('tells whom to wake: a keeper who sleeps longer than the new item may wait', async () => {
    const shard = await shardOfS()
    await agenda.remove(shard, [item('probe')])
    expect(await agenda.add([{ item: item('nobody'), delayMs: 10 }])).toEqual(new Set())
    await agenda.remove(shard, [item('nobody')])
    await agenda.take(shard, 'keeper', false)
    expect(await agenda.add([{ item: item('late'), delayMs: 60_000 }])).toEqual(new Set())
    expect(await agenda.add([{ item: item('soon'), delayMs: 100 }])).toEqual(new Set(['keeper']))
    expect(await agenda.add([{ item: item('later'), delayMs: 500 }])).toEqual(new Set())
  })
})
