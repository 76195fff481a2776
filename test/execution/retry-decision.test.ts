import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { type BackoffFunction, resolveRetry } from '../../src/agent/retry.ts'
import { GatewayError, RetryableError, TerminalError } from '../../src/errors.ts'
import { decideRetry } from '../../src/execution/retry-decision.ts'
import { memoryLogger } from '../worker/harness.ts'

const POLICY = resolveRetry({ maxAttempts: 3, backoff: { type: 'fixed', delayMs: 100 } })
const decide = (error: unknown, attempt = 1, policy = POLICY, logger = memoryLogger()) =>
  decideRetry(policy, { error, attempt, chance: 0 }, logger)
const violation = (direction: string) =>
  new GatewayError('GW_CONTRACT_VIOLATION', { agentType: 'agent', direction, reason: 'x' })

describe('another attempt follows', () => {
  test.each([
    ['an error', new Error('x')],
    ['a text', 'x'],
    ['nothing', undefined],
    ['a timeout', new GatewayError('GW_TASK_TIMEOUT', { timeoutMs: 1 })],
    ['a result that does not fit the contract', violation('result')],
    ['a RetryableError without a delay', new RetryableError('x')],
  ])('%s', (_name, error) => {
    expect(decide(error)).toEqual({ retry: true, delayMs: 100 })
  })

  test('until the policy says that it is enough', () => {
    expect([1, 2, 3, 4].map((attempt) => decide(new Error('x'), attempt).retry)).toEqual([true, true, false, false])
  })

  test.each([
    [250, 250],
    [0, 0],
    [-5, 0],
    [Number.NaN, 0],
    [Number.POSITIVE_INFINITY, 31_536_000_000],
  ])('a RetryableError with the delay %s, after %s ms, but not beyond the policy', (delayMs, expected) => {
    const error = new RetryableError('x', { delayMs })
    expect(decide(error)).toEqual({ retry: true, delayMs: expected })
    expect(decide(error, 3)).toEqual({ retry: false })
  })
})

describe('no other attempt follows', () => {
  test.each([
    ['a TerminalError', new TerminalError('x')],
    ['a message that cannot be understood', new GatewayError('GW_POISON', { reason: 'x' })],
    ['content that does not fit the contract', violation('content')],
  ])('%s', (_name, error) => {
    expect(decide(error)).toEqual({ retry: false })
  })
})

describe('a backoff function', () => {
  test('decides the delay', () => {
    const policy = resolveRetry({ maxAttempts: 9, backoff: (attempt) => attempt * 11 })
    expect([1, 2, 3].map((attempt) => decide(new Error('x'), attempt, policy))).toEqual(
      [11, 22, 33].map((delayMs) => ({ retry: true, delayMs })),
    )
  })

  test.each<[string, () => unknown, string]>([
    [
      'throws',
      () => {
        throw new Error('bad function')
      },
      'bad function',
    ],
    ['answers a promise', async () => 5, 'a backoff function must answer a number, not a promise'],
    ['answers a promise that fails', () => Promise.reject(new Error('x')), 'a backoff function must answer a number'],
  ])('that %s is told of, and the default delay is used', async (_how, backoff, reason) => {
    const logger = memoryLogger()
    const policy = resolveRetry({ backoff: backoff as BackoffFunction })
    expect(decide(new Error('x'), 2, policy, logger)).toEqual({ retry: true, delayMs: 2_000 })
    expect(logger.lines).toMatchObject([
      { level: 'error', fields: { reason: expect.stringContaining(reason), attempt: 2 } },
    ])
    await nextTurn() // a promise that nobody handles would end the process here
  })
})
