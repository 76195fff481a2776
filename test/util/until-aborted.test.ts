import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { deferred } from '../../src/util/deferred.ts'
import { untilAborted } from '../../src/util/until-aborted.ts'

test('is what the promise comes to, and leaves no listener behind', async () => {
  const { signal } = new AbortController()
  expect(await untilAborted(Promise.resolve(7), signal)).toBe(7)
  await expect(untilAborted(Promise.reject(new Error('no')), signal)).rejects.toThrow('no')
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('is undefined as soon as the signal aborts, or if it has', async () => {
  const controller = new AbortController()
  const never = deferred<number>()
  const waiting = untilAborted(never.promise, controller.signal)
  controller.abort()
  expect(await waiting).toBeUndefined()
  expect(await untilAborted(never.promise, controller.signal)).toBeUndefined()
  never.resolve(1)
})
