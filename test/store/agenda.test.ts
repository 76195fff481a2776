import { describe, expect, test } from 'vitest'
import { Agenda } from '../../src/store/agenda.ts'
import type { ReadyItem } from '../../src/store/agenda-items.ts'
import { openStore } from '../redis/harness.ts'

const ref = { sessionId: 's', messageId: 'm' }
const ready = { ...ref, kind: 'ready', turn: '0', capability: 'agent', priority: 'low', data: '{"a b":1}' } as const
const expiry = { ...ref, kind: 'expiry' } as const
const member = 'ready 0 s m'
/** Longer than any run of these tests. */
const FAR_MS = 3_600_000

/** An agenda with some items on it, and the shard that all of them are on. */
async function noted(items: readonly (ReadyItem | typeof expiry)[]) {
  const { redis, keys, bare } = openStore()
  const agenda = new Agenda(redis, keys)
  await agenda.add(items.map((item) => ({ item, delayMs: FAR_MS })))
  const homes = await Promise.all(agenda.shards.map((shard) => bare.exists(keys.agenda(shard).due)))
  const shard = homes.indexOf(1)
  const { due } = keys.agenda(shard)
  /** Moves an item to `ms` from the server's now; answers when that is. */
  const move = async (which: string, ms: number) => {
    const [seconds, micros] = await bare.time()
    const at = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000) + ms
    await bare.zadd(due, 'XX', at, which)
    return at
  }
  const score = async () => Number(await bare.zscore(due, member))
  return { agenda, shard, move, score }
}

describe('what is taken from the agenda', () => {
  test('is a task some time before it is due, with the time that is left', async () => {
    const { agenda, shard, move, score } = await noted([ready])
    expect(await agenda.take(shard, 'w', true)).toMatchObject({ isKeeper: true, items: [] })
    await move(member, 900)
    const early = await agenda.take(shard, 'w', true)
    expect([early.items, early.pauseMs <= 400]).toEqual([[], true])
    const dueAt = await move(member, 450)
    const { items, pauseMs } = await agenda.take(shard, 'w', true)
    expect(items).toEqual([{ item: ready, dueAt, waitMs: expect.any(Number) }])
    expect(items[0]?.waitMs).toBeGreaterThan(0)
    expect(items[0]?.waitMs).toBeLessThanOrEqual(450)
    expect(pauseMs).toBe(1_000) // nothing else is on the agenda
    // It is the keeper's now, and due again no sooner than another could be the keeper.
    expect(await score()).toBe(dueAt + 3_000.5)
    expect((await agenda.take(shard, 'w', true)).items).toEqual([])
  })

  test('is nothing ahead of its time for a keeper that has no room', async () => {
    const { agenda, shard, move, score } = await noted([ready])
    const dueAt = await move(member, 450)
    const { items, pauseMs } = await agenda.take(shard, 'w', false)
    expect([items, await score()]).toEqual([[], dueAt])
    expect(pauseMs).toBeLessThanOrEqual(450) // it is to be asked for again when it is due
  })

  test('is an expiry only when it is due', async () => {
    const { agenda, shard, move } = await noted([ready, expiry])
    await move('expiry 0 s m', 450)
    await move(member, 400)
    const { items, pauseMs } = await agenda.take(shard, 'w', true)
    expect(items.map(({ item }) => item.kind)).toEqual(['ready'])
    expect(pauseMs).toBeLessThanOrEqual(450)
    await move('expiry 0 s m', -1)
    expect((await agenda.take(shard, 'w', true)).items).toMatchObject([{ item: expiry, waitMs: 0 }])
  })

  test('is for the keeper alone', async () => {
    const { agenda, shard, move } = await noted([ready])
    await move(member, 0)
    expect((await agenda.take(shard, 'w', true)).items).toHaveLength(1)
    const { isKeeper, pauseMs, items } = await agenda.take(shard, 'other', true)
    expect([isKeeper, items]).toEqual([false, []])
    expect(pauseMs).toBeLessThanOrEqual(1_000)
  })

  test('is given back with its time, unless it was struck out', async () => {
    const { agenda, shard, move, score } = await noted([ready])
    const dueAt = await move(member, 450)
    const { items } = await agenda.take(shard, 'w', true)
    await agenda.giveBack(shard, items)
    expect(await score()).toBe(dueAt)
    expect((await agenda.take(shard, 'w', true)).items).toMatchObject([{ item: ready, dueAt }])
    await agenda.remove(shard, [ready])
    await agenda.giveBack(shard, items)
    expect(await agenda.holds([{ ...ref, turn: '0' }])).toEqual([false])
  })
})

test.each([
  ['ahead of its time', 450],
  ['in its time', 0],
])(
  'what a keeper was handed %s is not struck out for a task that has its end: its entry is to be expected',
  async (_, ms) => {
    const { agenda, shard, move } = await noted([ready, expiry])
    await move(member, ms)
    const { items } = await agenda.take(shard, 'w', true)
    expect(await agenda.cancel(ref, '0')).toBe('in-hand')
    expect(await agenda.holds([{ ...ref, turn: '0' }])).toEqual([true])
    // Given back, nobody has it in hand.
    await agenda.giveBack(shard, items)
    expect(await agenda.cancel(ref, '0')).toBe('taken-back')
    await agenda.strikeOut(ref, { turn: '0' })
    expect(await agenda.holds([{ ...ref, turn: '0' }])).toEqual([false])
    expect(await agenda.cancel(ref, '0')).toBe('not-noted')
  },
)

test('what was taken back for such a task stays without its envelope, for the keeper, until it is struck out', async () => {
  const { agenda, shard, move } = await noted([ready])
  // Repeated after a lost answer it says the same.
  expect([await agenda.cancel(ref, '0'), await agenda.cancel(ref, '0')]).toEqual(['taken-back', 'taken-back'])
  expect((await agenda.take(shard, 'w', true)).items).toEqual([])
  await move(member, 0)
  const { items } = await agenda.take(shard, 'w', true)
  expect(items).toMatchObject([
    { item: { kind: 'ready', messageId: ref.messageId, capability: '', data: '' }, waitMs: 0 },
  ])
})

test('a task that is held back is noted with its record, unless it has begun or has its end', async () => {
  const { redis, keys, bare } = openStore()
  const agenda = new Agenda(redis, keys)
  const hold = async (messageId: string, parentMessageId = '') => {
    const about = { ...ref, messageId }
    const task = { ...about, agentType: 'agent', traceId: 't', parentMessageId, userCode: '', delayMs: FAR_MS }
    const items = [
      { ...ready, messageId },
      { ...expiry, messageId },
    ] as const
    const { admitted } = await agenda.hold([{ task, appointments: items.map((item) => ({ item, delayMs: FAR_MS })) }])
    const [isNoted] = await agenda.holds([{ ...about, turn: '0' }])
    return { admitted: admitted[0], isNoted }
  }
  expect(await hold('m')).toEqual({ admitted: true, isNoted: true })
  const fences = { waits: 'D:0::', queued: 'Q:0::', begun: 'Q:1::', runs: 'R:1:1-1:w', over: 'X:0::' }
  for (const [messageId, fence] of Object.entries(fences)) await bare.hset(keys.task('s', messageId), 'fence', fence)
  expect(await hold('waits')).toEqual({ admitted: false, isNoted: true })
  expect(await hold('queued')).toEqual({ admitted: false, isNoted: true })
  for (const messageId of ['begun', 'runs', 'over']) {
    expect(await hold(messageId), messageId).toEqual({ admitted: false, isNoted: false })
  }
  // A cancelled one has called it: should whoever is told that not end it, whoever takes it does.
  expect(await hold('below', 'over')).toEqual({ admitted: { reason: '', requestedBy: '' }, isNoted: true })
})

test('several that are held back at once each have their own, and wake the keeper who sleeps longer', async () => {
  const { redis, keys } = openStore()
  const agenda = new Agenda(redis, keys)
  const about = (messageId: string) => ({ ...ref, messageId })
  const born = { agentType: 'agent', traceId: 't', parentMessageId: '', userCode: '' }
  const of = (messageId: string, delayMs: number, items: readonly (typeof ready | typeof expiry)[]) => ({
    task: { ...about(messageId), ...born, delayMs },
    appointments: items.map((item) => ({ item: { ...item, messageId }, delayMs })),
  })
  for (const shard of agenda.shards) await agenda.take(shard, 'keeper', true)
  const batch = [of('far', FAR_MS, [ready]), of('both', 100, [ready, expiry]), of('none', FAR_MS, [])]
  const { admitted, keepers } = await agenda.hold(batch)
  expect([admitted, [...keepers]]).toEqual([[true, true, true], ['keeper']])
  const turns = ['far', 'both', 'none'].map((messageId) => ({ ...about(messageId), turn: '0' }))
  expect(await agenda.holds(turns)).toEqual([true, true, false])
  expect([...(await agenda.hold([of('later', FAR_MS, [ready])])).keepers]).toEqual([])
})
