import { describe, expect, test } from 'vitest'
import { Attended } from '../../src/util/attended.ts'
import { deferred } from '../../src/util/deferred.ts'

const turns = async () => {
  for (let i = 0; i < 3; i += 1) await new Promise(setImmediate)
}

/** A failed one, and of what it tells. */
function failing() {
  const { promise, reject } = deferred()
  const told: unknown[] = []
  const attended = Attended.of(promise).ifUnheard((error) => told.push(error))
  return { attended, told, fail: () => reject('no') }
}

describe('an attended promise', () => {
  test('tells of a failure of which nobody asks', async () => {
    const { told, fail } = failing()
    fail()
    await turns()
    expect(told).toEqual(['no'])
  })

  test.each<[string, (promise: Promise<void>) => Promise<unknown>]>([
    ['await', async (promise) => await promise],
    ['return', async (promise) => promise],
    ['catch', (promise) => promise.catch((error) => Promise.reject(error))],
    ['finally', (promise) => promise.finally(() => undefined)],
    ['Promise.all', (promise) => Promise.all([1, promise])],
    ['Promise.race', (promise) => Promise.race([promise])],
    ['Promise.resolve', (promise) => Promise.resolve(promise)],
  ])('is silent for whoever asks by %s', async (_, ask) => {
    const { attended, told, fail } = failing()
    const asked = ask(attended)
    fail()
    await expect(asked).rejects.toBe('no')
    await turns()
    expect(told).toEqual([])
  })

  test('gives its value like any other', async () => {
    const attended = Attended.of(Promise.resolve(1))
    expect([await attended, attended instanceof Promise]).toEqual([1, true])
  })
})
