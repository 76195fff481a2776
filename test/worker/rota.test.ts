import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ControlStream, TakenEntry } from '../../src/store/control-streams.ts'
import { Rota } from '../../src/worker/rota.ts'

const streams = (count: number): ControlStream[] =>
  Array.from({ length: count }, (_, index) => ({ key: `k-${index}`, capability: `c-${index}`, priority: 'normal' }))
const entries = (stream: ControlStream, count: number): TakenEntry[] =>
  Array.from({ length: count }, (_, index) => ({ stream, id: `${index}-0`, raw: [`${index}-0`, []], deliveries: 1 }))

test('never asks more streams than there is room for, never one twice, and comes to rest when all are dry', () => {
  const cases = fc.record({ count: fc.integer({ min: 1, max: 30 }), free: fc.integer({ min: 1, max: 40 }) })
  fc.assert(
    fc.property(cases, ({ count, free }) => {
      const rota = new Rota(streams(count))
      let reads = 0
      for (;;) {
        const asked = rota.next(free)
        reads += 1
        expect(asked.length).toBeGreaterThan(0)
        expect(asked.length).toBeLessThanOrEqual(free)
        expect(new Set(asked).size).toBe(asked.length)
        if (rota.report(asked, 1, [])) break
        expect(reads).toBeLessThan(4 * count + 20)
      }
    }),
  )
})

test('no stream starves beside one that never runs dry', () => {
  const cases = fc.record({
    count: fc.integer({ min: 2, max: 20 }),
    free: fc.integer({ min: 1, max: 25 }),
    busy: fc.nat(),
  })
  fc.assert(
    fc.property(cases, ({ count, free, busy }) => {
      const all = streams(count)
      const loud = all[busy % count] as ControlStream
      const rota = new Rota(all)
      const asked = new Set<ControlStream>()
      for (let reads = 0; reads < 8 * count * 3 && asked.size < count; reads += 1) {
        const next = rota.next(free)
        for (const stream of next) asked.add(stream)
        const share = Math.floor(free / next.length)
        rota.report(next, share, next.includes(loud) ? entries(loud, share) : [])
      }
      expect(asked.size).toBe(count)
    }),
  )
})
