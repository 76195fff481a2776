import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DEFAULT_RETRY, type RetryPolicy, resolveRetry, retryDelay } from '../../src/agent/retry.ts'
import type { BackoffRule } from '../../src/protocol/task-options.ts'

const YEAR_MS = 31_536_000_000
const delayMs = fc.double({ min: 0, max: YEAR_MS, noNaN: true })
const jitter = fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined })
const fixed = fc.record({ type: fc.constant('fixed' as const), delayMs, jitter })
const exponential = fc.record({
  ...{ type: fc.constant('exponential' as const), delayMs, jitter },
  maxDelayMs: fc.option(delayMs, { nil: undefined }),
})
const rule: fc.Arbitrary<BackoffRule> = fc.oneof(fixed, exponential)
const attempt = fc.integer({ min: 1, max: 1_000 })
const chance = fc.double({ min: 0, max: 1, noNaN: true })
const withRule = (backoff: RetryPolicy['backoff']) => resolveRetry({ backoff })
const partOf = ({ type, jitter: part }: BackoffRule) => part ?? (type === 'exponential' ? 0.2 : 0)

describe('a policy', () => {
  test('is put together field by field, the nearest first', () => {
    const policy: fc.Arbitrary<RetryPolicy | undefined> = fc.option(
      fc.record({
        maxAttempts: fc.option(fc.integer(), { nil: undefined }),
        backoff: fc.option(rule, { nil: undefined }),
      }),
      { nil: undefined },
    )
    fc.assert(
      fc.property(fc.array(policy, { maxLength: 4 }), (policies) => {
        const given = [...policies, DEFAULT_RETRY]
        expect(resolveRetry(...policies)).toEqual({
          maxAttempts: given.find((one) => one?.maxAttempts !== undefined)?.maxAttempts,
          backoff: given.find((one) => one?.backoff !== undefined)?.backoff,
        })
      }),
    )
  })

  test('of which nothing is said tries three times, after 1 s and 2 s less a fifth at most', () => {
    const policy = resolveRetry(undefined, {})
    expect(policy.maxAttempts).toBe(3)
    expect([1, 2, 6, 7, 8].map((number) => retryDelay(policy, number, null, 0))).toEqual([
      ...[1_000, 2_000, 32_000, 60_000, 60_000],
    ])
    expect(retryDelay(policy, 1, null, 1)).toBe(800)
  })
})

describe('a delay by rule', () => {
  test('is never negative, never more than the rule says, and jitter takes away no more than its part', () => {
    fc.assert(
      fc.property(rule, attempt, chance, (backoff, number, drawn) => {
        const full = retryDelay(withRule(backoff), number, null, 0)
        const delay = retryDelay(withRule(backoff), number, null, drawn)
        expect(Number.isFinite(delay)).toBe(true)
        expect(delay).toBeLessThanOrEqual(full)
        expect(delay).toBeGreaterThanOrEqual(full * (1 - partOf(backoff)) * (1 - 1e-9))
      }),
    )
  })

  test('that is fixed is the same each time', () => {
    fc.assert(
      fc.property(fixed, attempt, (backoff, number) => {
        expect(retryDelay(withRule(backoff), number, null, 0)).toBe(backoff.delayMs)
      }),
    )
  })

  test('that is exponential doubles until it meets its limit, and never falls', () => {
    fc.assert(
      fc.property(exponential, attempt, (backoff, number) => {
        const policy = withRule(backoff)
        const now = retryDelay(policy, number, null, 0)
        const next = retryDelay(policy, number + 1, null, 0)
        const limit = backoff.maxDelayMs ?? Math.max(60_000, backoff.delayMs)
        expect(next).toBe(Math.min(now * 2, limit))
        expect(now).toBeLessThanOrEqual(limit)
      }),
    )
  })
})

test('a first delay beyond the default limit is waited for', () => {
  const policy = withRule({ type: 'exponential', delayMs: 300_000 })
  expect([1, 2].map((number) => retryDelay(policy, number, null, 0))).toEqual([300_000, 300_000])
})

describe('a delay by a function', () => {
  test('is what the function says, and it is told the attempt and the error', () => {
    const error = new Error('x')
    const calls: unknown[][] = []
    const policy = withRule((...given) => {
      calls.push(given)
      return 7
    })
    expect(retryDelay(policy, 2, error, 0.5)).toBe(7)
    expect(calls).toEqual([[2, error]])
  })

  test.each([
    [-1, 0],
    [Number.NaN, 0],
    [Number.POSITIVE_INFINITY, YEAR_MS],
    [1e300, YEAR_MS],
    ['soon', 0],
    [undefined, 0],
  ])('%s becomes a time that can be waited for: %s', (answer, delay) => {
    expect(
      retryDelay(
        withRule(() => answer as number),
        1,
        null,
        0,
      ),
    ).toBe(delay)
  })
})
