import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Batcher } from '../../src/util/batcher.ts'
import { deferred } from '../../src/util/deferred.ts'

/** A batcher whose batches are seen and answered by hand. */
function byHand(options: {
  maxItems?: number
  maxWeight?: number
  weigh?: (n: number) => number
  maxInFlight?: number
  largeItems?: number
}) {
  const batches: { items: number[]; answer: ReturnType<typeof deferred<number[]>> }[] = []
  const batcher = new Batcher<number, number>({
    ...options,
    run: (items) => {
      const answer = deferred<number[]>()
      batches.push({ items, answer })
      return answer.promise
    },
  })
  return { batcher, batches }
}

const turn = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)))

describe('a batcher', () => {
  test('sends together what is added within one turn, and gives each its own answer', async () => {
    const runs: number[][] = []
    const batcher = new Batcher<number, string>({
      run: async (items) => {
        runs.push(items)
        return items.map((item) => `answer ${item}`)
      },
    })
    const answers = await Promise.all([1, 2, 3].map((item) => batcher.add(item)))
    expect(runs).toEqual([[1, 2, 3]])
    expect(answers).toEqual(['answer 1', 'answer 2', 'answer 3'])
  })

  test('rejects the item whose answer is an error, and no other', async () => {
    const batcher = new Batcher<number, number>({
      run: async (items) => items.map((item) => (item === 2 ? new Error('not this one') : item)),
    })
    const answers = await Promise.allSettled([1, 2, 3].map((item) => batcher.add(item)))
    expect(answers).toMatchObject([{ value: 1 }, { reason: { message: 'not this one' } }, { value: 3 }])
  })

  test('makes one batch of all that comes while another is under way', async () => {
    const { batcher, batches } = byHand({ maxInFlight: 1 })
    const first = batcher.add(1)
    await turn()
    const rest = [2, 3, 4].map((item) => batcher.add(item))
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1]])
    batches[0]?.answer.resolve([10])
    expect(await first).toBe(10)
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1], [2, 3, 4]])
    batches[1]?.answer.resolve([20, 30, 40])
    expect(await Promise.all(rest)).toEqual([20, 30, 40])
  })

  test('a large batch does not wait for others, up to eight under way', async () => {
    const { batcher, batches } = byHand({ maxInFlight: 1, largeItems: 3 })
    const all = [batcher.add(1)]
    await turn()
    all.push(batcher.add(2), batcher.add(3))
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1]])
    for (let count = 0; count < 30; count += 3) {
      for (let item = 0; item < 3; item += 1) all.push(batcher.add(item))
      await turn()
    }
    expect(batches).toHaveLength(8)
    expect(batches[1]?.items).toEqual([2, 3, 0, 1, 2])
    while (batches.length > 0) {
      const batch = batches.shift()
      batch?.answer.resolve(batch.items)
      await turn()
    }
    expect(await Promise.all(all)).toHaveLength(33)
  })

  test('never has more batches under way than allowed', async () => {
    const { batcher, batches } = byHand({ maxInFlight: 2, maxItems: 1 })
    const all = [1, 2, 3].map((item) => batcher.add(item))
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1], [2]])
    batches[1]?.answer.resolve([2])
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1], [2], [3]])
    batches[0]?.answer.resolve([1])
    batches[2]?.answer.resolve([3])
    expect(await Promise.all(all)).toEqual([1, 2, 3])
  })

  test('splits by count and by weight; what is too heavy alone goes alone', async () => {
    const { batcher, batches } = byHand({ maxItems: 3, maxWeight: 10, weigh: (n) => n, maxInFlight: 9 })
    void Promise.all([1, 1, 1, 1, 9, 2, 50, 3].map((item) => batcher.add(item)))
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1, 1, 1], [1, 9], [2], [50], [3]])
  })

  test('a batch that fails rejects its own items only, and the next one goes out', async () => {
    const { batcher, batches } = byHand({ maxInFlight: 1, maxItems: 2 })
    const all = [1, 2, 3].map((item) => batcher.add(item))
    const settled = Promise.allSettled(all)
    await turn()
    batches[0]?.answer.reject(new Error('lost'))
    await turn()
    batches[1]?.answer.resolve([30])
    expect(
      (await settled).map((result) => (result.status === 'fulfilled' ? result.value : result.reason.message)),
    ).toEqual(['lost', 'lost', 30])
  })

  test('answers every item once, in order, within its limits, whatever comes', async () => {
    const items = fc.array(fc.record({ weight: fc.nat(20), pause: fc.boolean() }), { maxLength: 40 })
    const limits = fc.record({
      maxItems: fc.integer({ min: 1, max: 8 }),
      maxWeight: fc.integer({ min: 1, max: 30 }),
      maxInFlight: fc.integer({ min: 1, max: 3 }),
    })
    await fc.assert(
      fc.asyncProperty(items, limits, async (given, { maxItems, maxWeight, maxInFlight }) => {
        const sent: number[] = []
        let inFlight = 0
        const batcher = new Batcher<number, number>({
          ...{ maxItems, maxWeight, maxInFlight },
          weigh: (index) => given[index]?.weight ?? 0,
          run: async (batch) => {
            inFlight += 1
            expect(inFlight).toBeLessThanOrEqual(maxInFlight)
            expect(batch.length).toBeLessThanOrEqual(maxItems)
            const weight = batch.reduce((sum, index) => sum + (given[index]?.weight ?? 0), 0)
            if (batch.length > 1) expect(weight).toBeLessThanOrEqual(maxWeight)
            sent.push(...batch)
            await turn()
            inFlight -= 1
            return batch.map((index) => index * 2)
          },
        })
        const answers: Promise<number>[] = []
        for (const [index, { pause }] of given.entries()) {
          answers.push(batcher.add(index))
          if (pause) await turn()
        }
        expect(await Promise.all(answers)).toEqual(given.map((_, index) => index * 2))
        expect(sent).toEqual(given.map((_, index) => index))
      }),
      { numRuns: 50 },
    )
  })
})
