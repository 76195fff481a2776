import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { deferred } from '../../src/util/deferred.ts'
import { sleep } from '../../src/util/sleep.ts'

test('sleeps about as long as told', async () => {
  const before = performance.now()
  await sleep(30)
  expect(performance.now() - before).toBeGreaterThanOrEqual(28)
})

test('wakes at once when its signal aborts, without rejecting, and leaves no listener', async () => {
  const controller = new AbortController()
  const before = performance.now()
  const slept = sleep(60_000, controller.signal)
  expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1)
  controller.abort()
  await slept
  expect(performance.now() - before).toBeLessThan(5_000)
  expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
})

test('does not sleep at all when the signal has aborted before', async () => {
  const before = performance.now()
  await sleep(60_000, AbortSignal.abort())
  expect(performance.now() - before).toBeLessThan(5_000)
})

test('leaves no listener after a full sleep', async () => {
  const { signal } = new AbortController()
  await sleep(1, signal)
  expect(getEventListeners(signal, 'abort')).toHaveLength(0)
})

test('a deferred is settled from outside, once', async () => {
  const good = deferred<number>()
  good.resolve(1)
  good.reject(new Error('too late'))
  expect(await good.promise).toBe(1)
  const bad = deferred()
  bad.reject(new Error('no'))
  await expect(bad.promise).rejects.toThrow('no')
})
