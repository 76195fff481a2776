import { describe, expect, test } from 'vitest'
import { runApart } from '../../src/redis/apart.ts'

/** What the server says no with. */
const refusal = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' })

/** Doubles numbers, in calls that are noted; fails with `error` where -1 is among them. */
function doubling(error: Error) {
  const calls: (readonly number[])[] = []
  const run = async (items: readonly number[]) => {
    calls.push(items)
    if (items.includes(-1)) throw error
    return items.map((item) => item * 2)
  }
  return { calls, run }
}

describe('a call of many', () => {
  test('is one where nothing is wrong', async () => {
    const { calls, run } = doubling(refusal('WRONGTYPE'))
    expect(await runApart([1, 2], run)).toEqual([2, 4])
    expect(calls).toEqual([[1, 2]])
  })

  test.each([
    'WRONGTYPE Operation against a key holding the wrong kind of value script: f00, on @user_script:6.',
    'ERR Error running script (call to f_00): @user_script:6: -WRONGTYPE Operation against a key',
  ])('that one item breaks is carried out for all others: %s', async (message) => {
    const error = refusal(message)
    const { calls, run } = doubling(error)
    expect(await runApart([1, -1, 2], run)).toEqual([2, error, 4])
    expect(calls).toEqual([[1, -1, 2], [1], [-1], [2]])
  })

  test('that fails for a reason that all of them have fails for all', async () => {
    for (const error of [refusal('OOM command not allowed'), new Error('WRONGTYPE as somebody else says it')]) {
      const { calls, run } = doubling(error)
      await expect(runApart([1, -1], run)).rejects.toBe(error)
      expect(calls).toHaveLength(1)
    }
  })

  test('of one item is not repeated', async () => {
    const error = refusal('WRONGTYPE')
    const { calls, run } = doubling(error)
    await expect(runApart([-1], run)).rejects.toBe(error)
    expect(calls).toHaveLength(1)
  })
})
