import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { Agenda } from '../../src/store/agenda.ts'
import { InboxWriter } from '../../src/store/inbox.ts'
import { LeftEntries } from '../../src/store/left-entries.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { openStore } from '../redis/harness.ts'
import { agendaOf, envelope, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }
const ref = { sessionId: 's', messageId: 'm' }
/** A worker that has nothing to do but to keep the agenda. */
const keep = (house: House) => house.work(() => null, { workerId: 'keeper', capabilities: ['other'] })
const ttl = (house: House, messageId = 'm') => house.redis.pttl(house.keys.task('s', messageId))
const control = (house: House, lane: 'high' | 'normal' | '@gone' = 'normal') => house.keys.control('agent', lane)

const lanes = [
  ['normal', {}],
  ['high', { priority: 'high' }],
  ['@gone', { targetWorkerId: 'gone' }],
] as const

test.each(lanes)(
  'a task that expires on the lane %s, which nobody reads, leaves nothing there',
  async (lane, options) => {
    const house = new House()
    await keep(house)
    const client = house.client()
    // What waits on is not touched.
    await client.sendMessage({ ...send, ...options, messageId: 'before' })
    await client.sendMessage({ ...send, ...options, messageId: 'm', expiresInMs: 50 })
    await client.sendMessage({ ...send, ...options, messageId: 'after' })
    expect(await client.result(ref)).toMatchObject({ status: 'EXPIRED' })
    await waitFor(async () => (await agendaOf(house)).length === 0)
    expect(await onLane(house, lane)).toEqual(['before', 'after'])
    expect(await ttl(house)).toBeGreaterThan(0)
    expect(await house.dones('s', 'm')).toHaveLength(1)
  },
)

test('a task that expires for one who waits for it, before its sender has gone on, leaves nothing there', async () => {
  const house = new House()
  const client = house.client()
  vi.spyOn(InboxWriter.prototype, 'wakeKeepers').mockImplementationOnce(async () => {
    expect(await house.client().result(ref)).toMatchObject({ status: 'EXPIRED' })
  })
  await client.sendMessage({ ...send, messageId: 'm', expiresInMs: 1 })
  expect(await onLane(house)).toEqual(['m'])
  await keep(house)
  await waitFor(async () => (await house.waiting()) === 0)
  await waitFor(async () => (await ttl(house)) > 0)
})

test.each([{}, { delayMs: 1 }])(
  'a task %o that expired, and whose entry is off its lane, is kept for its time',
  async (terms) => {
    const house = new House()
    // The keeper is cut off when the entry is gone and the record is not yet to go: all comes again after a while.
    const retire = vi.spyOn(TaskRecords.prototype, 'retire').mockRejectedValueOnce(new Error('the connection was cut'))
    await keep(house)
    await house.client().sendMessage({ ...send, ...terms, messageId: 'm', expiresInMs: 300 })
    await waitFor(async () => retire.mock.calls.length > 0)
    expect([await onLane(house), await ttl(house)]).toEqual([[], -1])
    await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
    expect(await ttl(house)).toBeGreaterThan(0)
  },
  30_000,
)

test('nor does one stay for ever that expired in its delay, and whose entry came and went behind that', async () => {
  const house = new House()
  const { clear } = LeftEntries.prototype
  // The keeper comes to the entry late, when it is on its lane, and is cut off when he has taken it off.
  vi.spyOn(LeftEntries.prototype, 'clear').mockImplementationOnce(async function (this: LeftEntries, tasks) {
    await waitFor(async () => (await onLane(house)).length === 1)
    return clear.call(this, tasks)
  })
  const retire = vi.spyOn(TaskRecords.prototype, 'retire').mockRejectedValueOnce(new Error('the connection was cut'))
  await keep(house)
  await house.client().sendMessage({ ...send, messageId: 'm', delayMs: 400, expiresInMs: 300 })
  await waitFor(async () => retire.mock.calls.length > 0)
  expect([await onLane(house), await ttl(house)]).toEqual([[], -1])
  await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
  expect(await ttl(house)).toBeGreaterThan(0)
}, 30_000)

/** The tasks whose entries lie on a lane. */
async function onLane(house: House, lane: 'high' | 'normal' | '@gone' = 'normal'): Promise<string[]> {
  const entries = await house.redis.xrange(control(house, lane), '-', '+')
  return entries.map(([, fields]) => JSON.parse(fields[1] as string).header.message_id)
}

describe.each(['no group', 'a group that is named otherwise'])('with %s, a task that is cancelled', (group) => {
  const prepare = async (house: House, lane: 'high' | 'normal' | '@gone' = 'normal') => {
    if (group !== 'no group') await house.redis.xgroup('CREATE', control(house, lane), 'others', '0', 'MKSTREAM')
  }

  test.each(lanes)('on the lane %s, which nobody reads, leaves nothing there', async (lane, options) => {
    const house = new House()
    await prepare(house, lane)
    const client = house.client()
    await client.sendMessage({ ...send, ...options, messageId: 'before' })
    await client.sendMessage({ ...send, ...options, messageId: 'm' })
    await client.sendMessage({ ...send, ...options, messageId: 'after' })
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    expect(await onLane(house, lane)).toEqual(['before', 'after'])
    expect(await ttl(house)).toBeGreaterThan(0)
    expect([await ttl(house, 'before'), (await house.dones('s', 'm')).length]).toEqual([-1, 1])
  })

  test('and was sent several times, on several lanes, leaves none of its entries', async () => {
    const house = new House()
    await prepare(house)
    const client = house.client()
    for (const priority of ['normal', 'low', 'normal', 'high'] as const) {
      await client.sendMessage({ ...send, messageId: 'm', priority })
    }
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    // Its record may go: nothing of it can run any more.
    await house.redis.del(house.keys.task('s', 'm'))
    let runs = 0
    await house.work(() => (runs += 1))
    await house.settled()
    expect([runs, (await house.dones('s', 'm')).length]).toEqual([0, 1])
  })

  test('with thousands of others leaves nothing', async () => {
    const house = new House()
    await prepare(house)
    const client = house.client()
    const ids = Array.from({ length: 2_000 }, (_, index) => `m-${index}`)
    await Promise.all(ids.map((messageId) => client.sendMessage({ ...send, messageId })))
    await client.cancelSession('s')
    expect(await onLane(house)).toEqual([])
    const left = await Promise.all(ids.map((messageId) => ttl(house, messageId)))
    expect(left.every((ms) => ms > 0)).toBe(true)
  }, 30_000)
})

test('a cancelled task whose entry is not found keeps its record: it may be older than that', async () => {
  const house = new House()
  const client = house.client()
  await house.redis.xgroup('CREATE', control(house), 'agent_engines', '0', 'MKSTREAM')
  // Of somebody who makes no record, and taken by a worker that died when it had made one.
  await house.redis.xadd(control(house), '*', 'data', envelope('m', 's'))
  await house.redis.xreadgroup('GROUP', 'agent_engines', 'dead', 'COUNT', 1, 'STREAMS', control(house), '>')
  await pause(50)
  const records = new TaskRecords(openStore().redis, house.keys)
  await records.admit([{ ...ref, agentType: 'agent', traceId: 't', parentMessageId: '', userCode: '' }])
  expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
  expect([await ttl(house), await house.pending()]).toEqual([-1, 1])
  let runs = 0
  await house.work(() => (runs += 1), { leaseMs: 1_000 })
  await house.settled()
  expect([runs, (await ttl(house)) > 0]).toEqual([0, true])
})

test('a task that is sent on behalf of a cancelled one leaves nothing where nobody offers its capability', async () => {
  const house = new House()
  const client = house.client()
  await client.sendMessage({ ...send, messageId: 'above' })
  await client.cancelTask({ sessionId: 's', messageId: 'above' })
  await client.sendMessage({ ...send, messageId: 'm', parentMessageId: 'above' })
  expect([await onLane(house), (await client.getTask(ref))?.status]).toEqual([[], 'CANCELLED'])
  expect(await ttl(house)).toBeGreaterThan(0)
})

test('cancelled tasks that somebody takes in that very moment are left to him, and never run', async () => {
  const house = new House()
  const client = house.client()
  const ids = Array.from({ length: 300 }, (_, index) => `m-${index}`)
  await house.redis.xgroup('CREATE', control(house), 'agent_engines', '0', 'MKSTREAM')
  await Promise.all(ids.map((messageId) => client.sendMessage({ ...send, messageId })))
  const cancelled = Promise.all(ids.map((messageId) => client.cancelTask({ sessionId: 's', messageId })))
  let taken = 0
  for (let more = true; more; ) {
    const read = ['GROUP', 'agent_engines', 'slow', 'COUNT', 5, 'STREAMS', control(house), '>'] as const
    const reply = (await house.redis.xreadgroup(...read)) as [string, unknown[]][] | null
    taken += reply?.[0]?.[1].length ?? 0
    more = reply !== null
  }
  expect(new Set((await cancelled).map(({ status }) => status))).toEqual(new Set(['CANCELLED']))
  expect([await house.waiting(), await house.pending()]).toEqual([taken, taken])
  let runs = 0
  await house.work(() => (runs += 1), { leaseMs: 1_000 })
  await house.settled()
  expect(runs).toBe(0)
  const left = await Promise.all(ids.map((messageId) => ttl(house, messageId)))
  expect(left.every((ms) => ms > 0)).toBe(true)
})

test('thousands of them leave nothing, nor does the stream stay', async () => {
  const house = new House()
  await keep(house)
  const client = house.client()
  const ids = Array.from({ length: 3_000 }, (_, index) => `m-${index}`)
  await Promise.all(ids.map((messageId) => client.sendMessage({ ...send, messageId, expiresInMs: 200 })))
  await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
  expect(await house.redis.exists(control(house))).toBe(0)
  const left = await Promise.all(ids.map((messageId) => ttl(house, messageId)))
  expect(left.every((ms) => ms > 0)).toBe(true)
}, 30_000)

test('one that a worker has in hand is left to it, and so is its record', async () => {
  const house = new House()
  const client = house.client()
  await house.redis.xgroup('CREATE', control(house), 'agent_engines', '0', 'MKSTREAM')
  await client.sendMessage({ ...send, messageId: 'm', expiresInMs: 200 })
  // Taken, and not begun yet.
  await house.redis.xreadgroup('GROUP', 'agent_engines', 'slow', 'COUNT', 1, 'STREAMS', control(house), '>')
  await keep(house)
  expect(await client.result(ref)).toMatchObject({ status: 'EXPIRED' })
  await waitFor(async () => (await agendaOf(house)).length === 0)
  expect([await house.waiting(), await house.pending(), await ttl(house)]).toEqual([1, 1, -1])
  let runs = 0
  await house.work(() => (runs += 1), { leaseMs: 1_000 })
  await house.settled()
  expect([runs, (await house.dones('s', 'm')).length]).toEqual([0, 1])
  expect(await ttl(house)).toBeGreaterThan(0)
})

test.each(['before its entry was taken off', 'before its record got its time'])(
  'a keeper that dies %s is made up for by the next',
  async (when) => {
    const house = new House()
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm', expiresInMs: 50 })
    await waitFor(async () => (await client.getTask(ref))?.status !== 'QUEUED' || (await isDue(house)))
    // Whoever waits ends the task; what else there is to do stays on the agenda.
    expect(await client.result(ref)).toMatchObject({ status: 'EXPIRED' })
    const [[id = ''] = []] = await house.redis.xrange(control(house), '-', '+')
    if (when.includes('record')) await house.redis.xdel(control(house), id)
    expect(await ttl(house)).toBe(-1)
    await keep(house)
    await waitFor(async () => (await agendaOf(house)).length === 0)
    expect(await house.waiting()).toBe(0)
    expect(await ttl(house)).toBeGreaterThan(0)
  },
)

async function isDue(house: House): Promise<boolean> {
  const expiresAt = await house.redis.hget(house.keys.task('s', 'm'), 'expires_at')
  return Number(expiresAt) <= Date.now()
}

test('a second entry of it that comes to light when its record is gone never runs', async () => {
  const house = new House()
  await house.client().sendMessage({ ...send, messageId: 'm', expiresInMs: 60_000 })
  const [[, fields = []] = []] = await house.redis.xrange(control(house), '-', '+')
  await house.redis.del(control(house), house.keys.task('s', 'm'))
  const now = Number((await house.redis.time())[0]) * 1_000
  await house.redis.xadd(control(house), `${now - 600_000}-0`, ...fields)
  let runs = 0
  await house.work(() => (runs += 1))
  await house.settled()
  expect([runs, await house.dones('s', 'm')]).toEqual([0, [expect.objectContaining({ event_type: 'done' })]])
})

test.each(['CANCELLED', 'COMPLETED'])('what is sent again after its end, %s, leaves no entry', async (status) => {
  const house = new House()
  const client = house.client()
  let runs = 0
  const work = () => house.work(() => (runs += 1))
  const worker = status === 'COMPLETED' ? await work() : undefined
  await client.sendMessage({ ...send, messageId: 'm' })
  if (worker === undefined) await client.cancelTask(ref)
  expect(await client.result(ref)).toMatchObject({ status })
  await worker?.stop()
  expect(await client.sendMessage({ ...send, messageId: 'm' })).toMatchObject({ success: true })
  expect(await house.redis.exists(control(house))).toBe(worker === undefined ? 0 : 1)
  expect(await house.waiting()).toBe(0)
  // Its record goes in its time, before a worker comes.
  await house.redis.del(house.keys.task('s', 'm'))
  await work()
  await client.ask({ ...send, messageId: 'next' })
  await house.settled()
  expect([runs, (await house.dones('s', 'm')).length]).toEqual([worker === undefined ? 1 : 2, 1])
})

test('what is sent again without its delay and then cancelled never runs', async () => {
  const house = new House()
  const client = house.client()
  await client.sendMessage({ ...send, messageId: 'm', delayMs: 3_600_000 })
  expect(await client.sendMessage({ ...send, messageId: 'm' })).toMatchObject({ success: true })
  expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
  expect(await onLane(house)).toEqual([])
  // Its record goes in its time, before a worker comes.
  await house.redis.del(house.keys.task('s', 'm'))
  let runs = 0
  await house.work(() => (runs += 1))
  await client.ask({ ...send, messageId: 'next' })
  expect(runs).toBe(1)
})

describe('a task whose entry was taken off by a call that is repeated, since its answer was lost,', () => {
  /** Between the two calls something may happen. */
  const open = async (house: House, fence: string, between: () => Promise<unknown> = async () => undefined) => {
    await house.client().sendMessage({ ...send, messageId: 'm', expiresInMs: 60_000 })
    const { redis } = openStore()
    const twice = Object.assign(Object.create(redis) as typeof redis, {
      isCluster: false,
      script: async (...call: Parameters<typeof redis.script>) => {
        if (call[0] === 'withdraw') {
          await redis.script(...call)
          await between()
        }
        return redis.script(...call)
      },
      call: redis.call.bind(redis),
      all: redis.all.bind(redis),
    })
    await house.redis.hset(house.keys.task('s', 'm'), { fence, keep_ms: '60000' })
    return new LeftEntries(twice, house.keys, new TaskRecords(redis, house.keys))
  }

  test.each(['E:0::', 'X:0::'])('leaves nothing: %s', async (fence) => {
    const house = new House()
    const left = await open(house, fence)
    await left.clear([{ ...ref, priority: 'normal' }])
    expect([await house.waiting(), (await ttl(house)) > 0]).toEqual([0, true])
  })

  test('keeps its record where the entry has come back under another id', async () => {
    const house = new House()
    const left = await open(house, 'X:0::', () => house.redis.xadd(control(house), '*', 'data', envelope('m', 's')))
    await left.clear([{ ...ref, priority: 'normal' }])
    expect([await onLane(house), await ttl(house)]).toEqual([['m'], -1])
  })
})

describe('a task that the agenda has put on a lane which nobody reads, and that is cancelled, leaves nothing there', () => {
  const hasCome = (house: House, count = 1) =>
    waitFor(async () => (await onLane(house)).length === count && (await agendaOf(house)).length === 0)
  const leavesNothing = async (house: House) => {
    await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
    expect([await onLane(house), (await ttl(house)) > 0]).toEqual([[], true])
    expect(await house.dones('s', 'm')).toHaveLength(1)
  }

  test('after a delay, though somebody else has sent it without', async () => {
    const house = new House()
    await keep(house)
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm', delayMs: 200 })
    await house.redis.xadd(control(house), '*', 'data', envelope('m', 's'))
    await hasCome(house, 2)
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    await leavesNothing(house)
  })

  test('for another attempt', async () => {
    const house = new House()
    await keep(house)
    const retry = { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 1_000 } } as const
    const fail = () => {
      throw new Error('boom')
    }
    const worker = await house.work(fail, { retry })
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm' })
    await waitFor(async () => (await client.getTask(ref))?.status === 'RETRYING')
    await worker.stop()
    await hasCome(house)
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    await leavesNothing(house)
  })

  test('while its keeper had it in hand', async () => {
    const house = new House()
    await keep(house)
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm', delayMs: 450 })
    const due = async (shard: number) => house.redis.zscore(house.keys.agenda(shard).due, 'ready 0 s m')
    const isInHand = async () => (await Promise.all([0, 1, 2, 3].map(due))).some((at) => Number(at) % 1 > 0)
    await waitFor(isInHand)
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    await waitFor(async () => (await onLane(house)).length === 1)
    await leavesNothing(house)
  }, 30_000)
})

test('a delayed task whose cancel is broken off once it is off the agenda leaves nothing: the keeper goes on', async () => {
  const house = new House()
  const client = house.client()
  await client.sendMessage({ ...send, messageId: 'm', delayMs: 3_600_000 })
  vi.spyOn(TaskRecords.prototype, 'retire').mockRejectedValueOnce(new Error('killed'))
  expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
  expect([await agendaOf(house), await ttl(house)]).toEqual([['ready 0 s m'], -1])
  await keep(house)
  await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 8_000 })
  expect(await ttl(house)).toBeGreaterThan(0)
  expect(await onLane(house)).toEqual([])
  expect(house.logger.lines.filter(({ level }) => level === 'error')).toEqual([])
})

test('nor does one that expires after such a cancel, which has not come to the agenda', async () => {
  const house = new House()
  const client = house.client()
  await client.sendMessage({ ...send, messageId: 'm', delayMs: 3_600_000, expiresInMs: 300 })
  vi.spyOn(Agenda.prototype, 'cancel').mockRejectedValueOnce(new Error('killed'))
  expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
  expect([(await agendaOf(house)).length, await ttl(house)]).toEqual([2, -1])
  await keep(house)
  await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 8_000 })
  expect(await ttl(house)).toBeGreaterThan(0)
  expect((await client.getTask(ref))?.status).toBe('CANCELLED')
})

test('nor does one whose record cannot be read keep others from their ends', async () => {
  const house = new House()
  const client = house.client()
  const refs = ['m', 'other'].map((messageId) => ({ sessionId: 's', messageId }))
  vi.spyOn(TaskRecords.prototype, 'retire').mockRejectedValueOnce(new Error('killed')).mockRejectedValueOnce('killed')
  for (const each of refs) {
    await client.sendMessage({ ...send, ...each, delayMs: 3_600_000 })
    await client.cancelTask(each)
  }
  await house.redis.set(house.keys.task('s', 'm'), 'of another kind')
  await client.sendMessage({ ...send, targetAgentType: 'other', messageId: 'due', delayMs: 3_600_000 })
  // All are due at once.
  const members = ['m', 'other', 'due'].flatMap((messageId) => ['1', `ready 0 s ${messageId}`])
  for (const shard of [0, 1, 2, 3]) await house.redis.zadd(house.keys.agenda(shard).due, 'XX', ...members)
  await keep(house)
  expect(await client.result({ sessionId: 's', messageId: 'due' })).toMatchObject({ status: 'COMPLETED' })
  await waitFor(async () => (await agendaOf(house)).join() === 'ready 0 s m')
  expect(await ttl(house, 'other')).toBeGreaterThan(0)
})

test('a task of the agenda whose envelope is lost is named in the log', async () => {
  const house = new House()
  await house.client().sendMessage({ ...send, messageId: 'm', delayMs: 50 })
  for (const shard of [0, 1, 2, 3]) await house.redis.del(house.keys.agenda(shard).payloads)
  await keep(house)
  await waitFor(async () => (await agendaOf(house)).length === 0)
  const said = house.logger.lines.filter(({ level }) => level === 'error')
  expect(said).toMatchObject([
    { fields: { sessionId: 's', messageId: 'm' }, message: expect.stringMatching(/has lost its envelope/) },
  ])
})
