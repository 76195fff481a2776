import { describe, expect, test } from 'vitest'
import type { TakenItem } from '../../src/store/agenda.ts'
import { Stages } from '../../src/store/stages.ts'
import { openStore } from '../redis/harness.ts'

function setUp() {
  const { redis, keys, bare } = openStore()
  const stream = keys.control('agent')
  /** Tasks that are due in `waitMs`. */
  const crowd = async (count: number, waitMs: number): Promise<TakenItem[]> => {
    const dueAt = (await redis.now()) + waitMs
    return Array.from({ length: count }, (_, i) => ({
      item: {
        ...{ kind: 'ready', sessionId: 's', messageId: `m-${i}`, turn: '0' },
        ...{ capability: 'agent', priority: 'normal', data: `{"n":${i}}` },
      } as const,
      ...{ waitMs, dueAt },
    }))
  }
  return { stages: new Stages(redis, keys), bare, stream, crowd }
}

describe('a stage', () => {
  test('comes to its stream in its order, once and not before it is due, and leaves nothing behind', async () => {
    const { stages, bare, stream, crowd } = setUp()
    const taken = await crowd(1_200, 300)
    const laid = await stages.layDown(taken)
    expect(laid.map(({ items }) => items.length)).toEqual([500, 500, 200])
    expect(await bare.exists(stream)).toBe(0)
    const kept = laid.flatMap(({ key }) => [key, `${key}:room`])
    for (const key of kept) expect(await bare.pttl(key)).toBeGreaterThan(0)
    // Opened side by side they come as their servers let them; each by itself is in order.
    for (const stage of laid) expect(await stages.open(stage)).toBe(true)
    const entries = await bare.xrange(stream, '-', '+')
    expect(entries.map(([, fields]) => fields)).toEqual(taken.map((_, i) => ['data', `{"n":${i}}`, 'turn', '0']))
    expect(Number(entries[0]?.[0].split('-')[0])).toBeGreaterThanOrEqual(taken[0]?.dueAt ?? Number.NaN)
    expect(await bare.exists(...kept)).toBe(0)
  })

  test('that is laid down again, after a lost answer, is the same', async () => {
    const { redis, keys, bare } = openStore()
    const stream = keys.control('agent')
    const stage = keys.stage(stream, 'x')
    const at = [stage, keys.stageRoom(stage)]
    for (const _ of ['first', 'again']) expect(await redis.script('stage', at, [60_000, '0', 'a', 'b'])).toBe(2)
    expect(await redis.script('unstage', [...at, stream], [0, '0'])).toEqual([0, 2])
    expect((await bare.xrange(stream, '-', '+')).map(([, [, data]]) => data)).toEqual(['a', 'b'])
  })

  test('that is gone, or was opened before, puts nothing on the stream and says so', async () => {
    const { stages, bare, stream, crowd } = setUp()
    const [lost, opened] = await stages.layDown(await crowd(600, 50))
    if (lost === undefined || opened === undefined) throw new Error('there must be two')
    await bare.del(lost.key)
    expect([await stages.open(lost), await stages.open(opened), await stages.open(opened)]).toEqual([
      false,
      true,
      false,
    ])
    expect(await bare.xlen(stream)).toBe(100)
  })

  test('is for many that are due together, and for shared lanes only', async () => {
    const { stages, crowd } = setUp()
    expect(await stages.layDown(await crowd(10, 300))).toEqual([])
    expect(await stages.layDown(await crowd(100, 0))).toEqual([])
    const own = (await crowd(100, 300)).map((taken) => ({ ...taken, item: { ...taken.item, priority: '@w' } as never }))
    expect(await stages.layDown(own)).toEqual([])
  })
})
