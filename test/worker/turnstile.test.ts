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
