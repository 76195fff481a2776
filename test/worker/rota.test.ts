import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Keys, type Priority } from '../../src/redis/keys.ts'
import type { TakePlan } from '../../src/store/control-reader.ts'
import { type ControlStream, lanesOf, type TakenEntry } from '../../src/store/control-streams.ts'
import { Rota } from '../../src/worker/rota.ts'

/** Streams in memory, read as the script `take` reads them. */
class Streams {
  readonly all: ControlStream[]
  readonly #waiting = new Map<string, number[]>()
  #sent = 0

  constructor(capabilities: number) {
    this.all = lanesOf(
      Array.from({ length: capabilities }, (_, index) => `c${index}`),
      new Keys('queue'),
    )
    for (const { key } of this.all) this.#waiting.set(key, [])
  }

  of(priority: Priority, capability = 0): ControlStream {
    return this.all.filter((stream) => stream.priority === priority)[capability] as ControlStream
  }

  put(stream: ControlStream, count = 1): void {
    for (let at = 0; at < count; at += 1) {
      this.#sent += 1
      this.#queue(stream).push(this.#sent)
    }
  }

  left(stream: ControlStream): number {
    return this.#queue(stream).length
  }

  get total(): number {
    return this.all.reduce((sum, stream) => sum + this.left(stream), 0)
  }

  take({ budget, streams, steps }: TakePlan): TakenEntry[] {
    const taken: TakenEntry[] = []
    const served = new Set<ControlStream>()
    for (const { first, count, most } of steps) {
      let room = Math.min(budget - taken.length, most)
      const lane = streams.slice(first, first + count)
      let open = [...lane.filter((stream) => !served.has(stream)), ...lane.filter((stream) => served.has(stream))]
      while (room > 0 && open.length > 0) {
        const asked = open.slice(0, room)
        const each = Math.floor(room / asked.length)
        for (const stream of asked) served.add(stream)
        const brought = asked.map((stream) => this.#pull(stream, each))
        taken.push(...brought.flat())
        room -= brought.flat().length
        open = [...open.slice(asked.length), ...asked.filter((_, index) => brought[index]?.length === each)]
      }
    }
    return taken
  }

  #pull(stream: ControlStream, count: number): TakenEntry[] {
    const ids = this.#queue(stream).splice(0, count)
    return ids.map((id) => ({ stream, id: `${id}-0`, raw: [`${id}-0`, []], deliveries: 1, askedAt: 0 }))
  }

  #queue({ key }: ControlStream): number[] {
    return this.#waiting.get(key) as number[]
  }
}

function read(streams: Streams, rota: Rota, budget: number): TakenEntry[] {
  const plan = rota.plan(budget)
  const entries = streams.take(plan)
  rota.report(entries, plan)
  return entries
}
const lanes = (entries: readonly TakenEntry[]) => entries.map(({ stream }) => stream.priority)
const counted = (entries: readonly TakenEntry[], priority: Priority) =>
  lanes(entries).filter((lane) => lane === priority).length

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 })
const load = fc.array(fc.record({ stream: fc.nat({ max: 59 }), count: fc.integer({ min: 0, max: 12 }) }), {
  maxLength: 30,
})

test('never more than the budget, never less while there is something, and in the order of each stream', () => {
  const cases = fc.record({ capabilities: fc.integer({ min: 1, max: 20 }), reads: fc.array(fc.tuple(load, sizes)) })
  fc.assert(
    fc.property(cases, ({ capabilities, reads }) => {
      const streams = new Streams(capabilities)
      const rota = new Rota(streams.all)
      const last = new Map<ControlStream, number>()
      for (const [arrivals, budgets] of reads) {
        for (const { stream, count } of arrivals) {
          streams.put(streams.all[stream % streams.all.length] as ControlStream, count)
        }
        for (const budget of budgets) {
          const expected = Math.min(budget, streams.total)
          const entries = read(streams, rota, budget)
          // A large read may leave out streams that were never used; the next one does not.
          if (entries.length < expected) entries.push(...read(streams, rota, budget - entries.length))
          expect(entries).toHaveLength(expected)
          for (const { stream, id } of entries) {
            expect(Number.parseInt(id, 10)).toBeGreaterThan(last.get(stream) ?? 0)
            last.set(stream, Number.parseInt(id, 10))
          }
        }
      }
    }),
  )
})

describe('lanes', () => {
  test('one task at a time: three high, a normal one, three high, a low one', () => {
    const streams = new Streams(1)
    for (const stream of streams.all) streams.put(stream, 50)
    const rota = new Rota(streams.all)
    const order = Array.from({ length: 16 }, () => lanes(read(streams, rota, 1))[0])
    const eight = ['high', 'high', 'high', 'normal', 'high', 'high', 'high', 'low']
    expect(order).toEqual([...eight, ...eight])
  })

  test('with a flood in all of them normal and low get their eighth, however large the reads are', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 5 }), (budgets, capabilities) => {
        const streams = new Streams(capabilities)
        for (const stream of streams.all) streams.put(stream, 2_000)
        const rota = new Rota(streams.all)
        const taken: TakenEntry[] = []
        for (const budget of budgets) {
          taken.push(...read(streams, rota, budget))
          const rounds = Math.floor(taken.length / 8)
          for (const lane of ['normal', 'low'] as const) {
            expect(counted(taken, lane)).toBeGreaterThanOrEqual(rounds)
            expect(counted(taken, lane)).toBeLessThanOrEqual(rounds + 1)
          }
        }
      }),
    )
  })

  test('a low task is taken among the next eight, whatever else there is', () => {
    fc.assert(
      fc.property(fc.nat({ max: 40 }), sizes, (before, budgets) => {
        const streams = new Streams(1)
        streams.put(streams.of('high'), 3_000)
        streams.put(streams.of('normal'), 3_000)
        const rota = new Rota(streams.all)
        for (let at = 0; at < before; at += 1) read(streams, rota, 1)
        streams.put(streams.of('low'))
        let after = 0
        for (const budget of [...budgets, 8]) {
          if (streams.left(streams.of('low')) === 0) break
          expect(after).toBeLessThan(8)
          after += read(streams, rota, budget).length
        }
        expect(streams.left(streams.of('low'))).toBe(0)
      }),
    )
  })

  test('beyond the two turns no lower task goes before a higher one', () => {
    fc.assert(
      fc.property(load, sizes, (arrivals, budgets) => {
        const streams = new Streams(3)
        for (const { stream, count } of arrivals) streams.put(streams.all[stream % 9] as ControlStream, count)
        const rota = new Rota(streams.all)
        for (const budget of budgets) {
          const entries = read(streams, rota, budget)
          const waits = (priority: Priority) =>
            [0, 1, 2].reduce((sum, at) => sum + streams.left(streams.of(priority, at)), 0)
          const turns = Math.ceil(budget / 8)
          if (waits('high') > 0) {
            expect(counted(entries, 'normal')).toBeLessThanOrEqual(turns)
            expect(counted(entries, 'low')).toBeLessThanOrEqual(turns)
          }
          if (waits('normal') > 0) expect(counted(entries, 'low')).toBeLessThanOrEqual(turns)
        }
      }),
    )
  })

  test('without high tasks normal ones have their turns, and alone a lane has all of them', () => {
    const streams = new Streams(1)
    const rota = new Rota(streams.all)
    streams.put(streams.of('normal'), 30)
    streams.put(streams.of('low'), 30)
    const first = read(streams, rota, 16)
    expect([counted(first, 'normal'), counted(first, 'low')]).toEqual([14, 2])
    expect(lanes(read(streams, rota, 40))).toHaveLength(40)
  })
})

describe('capabilities of one lane', () => {
  test('share evenly', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 20 }), fc.integer({ min: 1, max: 40 }), (capabilities, budget) => {
        const streams = new Streams(capabilities)
        for (let at = 0; at < capabilities; at += 1) streams.put(streams.of('normal', at), 2_000)
        const rota = new Rota(streams.all)
        for (let reads = 0; reads < 30; reads += 1) read(streams, rota, budget)
        const shares = Array.from({ length: capabilities }, (_, at) => 2_000 - streams.left(streams.of('normal', at)))
        expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(5)
      }),
    )
  })

  test('a quiet one is served at the next read beside any number of loud ones', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 20 }), fc.integer({ min: 1, max: 40 }), fc.nat(), (count, budget, who) => {
        const streams = new Streams(count)
        const quiet = who % count
        for (let at = 0; at < count; at += 1) if (at !== quiet) streams.put(streams.of('high', at), 3_000)
        const rota = new Rota(streams.all)
        for (let reads = 0; reads < 2 * count; reads += 1) read(streams, rota, budget)
        streams.put(streams.of('high', quiet))
        read(streams, rota, Math.max(budget, 2)) // of one task it may be the turn of another lane
        expect(streams.left(streams.of('high', quiet))).toBe(0)
      }),
    )
  })
})

test('a read of those streams alone that have something keeps the order of the lanes', () => {
  const streams = new Streams(3)
  const rota = new Rota(streams.all)
  const some = [streams.of('low', 1), streams.of('high', 2)]
  for (const stream of [...some, streams.of('normal', 0)]) streams.put(stream, 9)
  const plan = rota.plan(8, some)
  expect(plan.streams).toEqual([streams.of('high', 2), streams.of('low', 1)])
  expect(rota.isNarrow(plan)).toBe(true)
  expect(lanes(streams.take(plan))).toEqual(['high', 'high', 'high', 'high', 'high', 'high', 'low', 'high'])
})
