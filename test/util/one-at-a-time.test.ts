import { expect, test } from 'vitest'
import { deferred } from '../../src/util/deferred.ts'
import { OneAtATime } from '../../src/util/one-at-a-time.ts'

test('who asks while it is under way has the next, together with all others', async () => {
  const runs: ReturnType<typeof deferred<number>>[] = []
  const work = new OneAtATime(() => {
    const run = deferred<number>()
    runs.push(run)
    return run.promise
  })
  const first = work.run()
  const [second, third] = [work.run(), work.run()]
  expect(runs).toHaveLength(1)
  runs[0]?.resolve(1)
  expect(await first).toBe(1)
  await Promise.resolve()
  expect(runs).toHaveLength(2)
  const fourth = work.run()
  runs[1]?.resolve(2)
  expect(await Promise.all([second, third])).toEqual([2, 2])
  await Promise.resolve()
  runs[2]?.resolve(3)
  expect(await fourth).toBe(3)
  const fifth = work.run()
  expect(runs).toHaveLength(4)
  runs[3]?.resolve(4)
  expect(await fifth).toBe(4)
})
