import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Priority } from '../../src/redis/keys.ts'
import { Turnstile } from '../../src/worker/turnstile.ts'

/** A reader of one lane that takes one task at a time until it has taken `count`; notes each in `taken`. */
async function reader(turnstile: Turnstile, lane: Priority, count: number, taken: Priority[]): Promise<void> {
  for (let left = count; left > 0; left -= 1) {
    await turnstile.pass(lane, async () => {
      await nextTurn()
      taken.push(lane)
      return 1
    })
  }
}

test('three high ones, a normal one, three high ones, a low one; what is left in order of the lanes', async () => {
  const turnstile = new Turnstile()
  const taken: Priority[] = []
  await Promise.all([
    reader(turnstile, 'low', 4, taken),
    reader(turnstile, 'normal', 4, taken),
    reader(turnstile, 'high', 12, taken),
  ])
  const eight = ['high', 'high', 'high', 'normal', 'high', 'high', 'high', 'low']
  expect(taken.slice(0, 16)).toEqual([...eight, ...eight])
  expect(taken.slice(16).sort()).toEqual(['low', 'low', 'normal', 'normal'])
})

test.each([2, 3, 5, 8, 20])('the shares hold where each read takes %i', async (size) => {
  const turnstile = new Turnstile()
  const taken: Priority[] = []
  const total = 1_600
  const read = async (lane: Priority) => {
    while (taken.length < total) {
      await turnstile.pass(lane, async () => {
        await nextTurn()
        for (let count = 0; count < size; count += 1) taken.push(lane)
        return size
      })
    }
  }
  await Promise.all([read('low'), read('normal'), read('high')])
  const share = (lane: Priority) => taken.slice(0, total).filter((one) => one === lane).length / total
  expect(share('normal')).toBeGreaterThan(1 / 8 - 0.02)
  expect(share('low')).toBeGreaterThan(1 / 8 - 0.02)
  expect(share('high')).toBeGreaterThan(6 / 8 - 0.02)
})

test('what is not there is owed nothing: who comes late has no more than its share', async () => {
  const turnstile = new Turnstile()
  const taken: Priority[] = []
  await reader(turnstile, 'high', 100, taken)
  const high = reader(turnstile, 'high', 12, taken)
  await Promise.all([high, reader(turnstile, 'low', 12, taken)])
  expect(taken.slice(100, 116).filter((lane) => lane === 'low').length).toBeLessThanOrEqual(5)
})

test('one read at a time; everybody gets through, also past reads that fail', async () => {
  const lanes = fc.array(fc.constantFrom<Priority>('high', 'normal', 'low'), { minLength: 1, maxLength: 20 })
  await fc.assert(
    fc.asyncProperty(lanes, fc.array(fc.nat({ max: 4 })), async (readers, counts) => {
      const turnstile = new Turnstile()
      let inside = 0
      let passed = 0
      const passes = readers.map((lane, index) =>
        turnstile.pass(lane, async () => {
          inside += 1
          expect(inside).toBe(1)
          await nextTurn()
          inside -= 1
          passed += 1
          if (index % 3 === 2) throw new Error('away')
          return counts[index] ?? 0
        }),
      )
      const ends = await Promise.allSettled(passes)
      expect(passed).toBe(readers.length)
      expect(ends.map(({ status }) => status === 'rejected')).toEqual(readers.map((_, index) => index % 3 === 2))
    }),
    { numRuns: 50 },
  )
})
