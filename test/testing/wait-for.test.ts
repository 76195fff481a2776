import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'

test('resolves with the first truthy answer', async () => {
  let looks = 0
  const found: { looks: number } = await waitFor(() => (++looks === 3 ? { looks } : undefined))
  expect(found).toEqual({ looks: 3 })
})

test('takes a promise for an answer', async () => {
  let looks = 0
  expect(await waitFor(async () => ++looks > 2 && 'here')).toBe('here')
})

test('looks once even without time', async () => {
  expect(await waitFor(() => 1, { timeoutMs: 0 })).toBe(1)
  await expect(waitFor(() => 0, { timeoutMs: 0 })).rejects.toThrow('waited 0 ms in vain')
})

test('says what was waited for: a text, how things stand, or the predicate itself', async () => {
  const never = (options: Parameters<typeof waitFor>[1]) => waitFor(() => 1 > 2, { timeoutMs: 30, ...options })
  await expect(never({ message: 'the tide' })).rejects.toThrow('waited 30 ms in vain for: the tide')
  let state = 'low'
  const late = never({ message: () => `the tide, which is ${state}` })
  state = 'rising'
  await expect(late).rejects.toThrow('the tide, which is rising')
  await expect(never({})).rejects.toThrow('in vain for: () => 1 > 2')
})

test('keeps looking when the predicate throws, and hands on the last error as the cause', async () => {
  let looks = 0
  const look = () => {
    looks += 1
    if (looks < 3) throw new Error('too early')
    return 'now'
  }
  expect(await waitFor(look)).toBe('now')
  const failing = waitFor(() => Promise.reject(new Error('no luck')), { timeoutMs: 30 })
  await expect(failing).rejects.toMatchObject({ cause: { message: 'no luck' } })
})

test('does not wait longer for a predicate that hangs', async () => {
  const started = performance.now()
  const hanging = waitFor(() => new Promise<boolean>(() => undefined), { timeoutMs: 50, message: 'the end' })
  await expect(hanging).rejects.toThrow('the end')
  expect(performance.now() - started).toBeLessThan(2000)
})

test('gives a predicate its time, where there is no end to it', async () => {
  const slow = () => new Promise<string>((resolve) => setTimeout(() => resolve('here'), 30))
  const found = waitFor(slow, { timeoutMs: Number.POSITIVE_INFINITY })
  expect(await Promise.race([found, sleep(2_000, 'still waits', { ref: false })])).toBe('here')
})

test('looks as often as it was told', async () => {
  const predicate = vi.fn(() => false)
  await expect(waitFor(predicate, { timeoutMs: 200, intervalMs: 50 })).rejects.toThrow()
  expect(predicate.mock.calls.length).toBeGreaterThanOrEqual(2)
  expect(predicate.mock.calls.length).toBeLessThanOrEqual(5)
})
