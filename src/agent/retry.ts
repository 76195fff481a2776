import { type BackoffRule, LONGEST_MS, type RetryRule } from '../protocol/task-options.ts'
import { Attended } from '../util/attended.ts'

/** A delay of your own making: ms to wait, a year at most, after the attempt of that number failed with that error. */
export type BackoffFunction = (attempt: number, error: unknown) => number

/** How often a failing task is tried, and how long to wait in between. */
export interface RetryPolicy {
  /** Attempts in all, the first one included; takeovers from dead workers do not count. Default 3. */
  readonly maxAttempts?: number | undefined
  /** Default exponential from 1 s up to 60 s, a fifth of it left to chance. */
  readonly backoff?: BackoffRule | BackoffFunction | undefined
}

/** A policy of which nothing is missing. */
export interface ResolvedRetryPolicy {
  readonly maxAttempts: number
  readonly backoff: BackoffRule | BackoffFunction
}

const MOST_MS = 60_000
const JITTER = 0.2

export const DEFAULT_BACKOFF = { type: 'exponential', delayMs: 1_000, jitter: JITTER } as const

export const DEFAULT_RETRY: ResolvedRetryPolicy = { maxAttempts: 3, backoff: DEFAULT_BACKOFF }

/** One policy from several, the nearest first. */
export function resolveRetry(...policies: readonly (RetryPolicy | RetryRule | undefined)[]): ResolvedRetryPolicy {
  const first = <Key extends keyof RetryPolicy>(key: Key) =>
    policies.find((policy) => policy?.[key] !== undefined)?.[key]
  return {
    maxAttempts: first('maxAttempts') ?? DEFAULT_RETRY.maxAttempts,
    backoff: first('backoff') ?? DEFAULT_RETRY.backoff,
  }
}

/**
 * How long to wait after attempt number `attempt` failed, in ms.
 *
 * @param chance - A number from 0 to 1; the delay lies between `1 - jitter` and `1` of what the rule says.
 * @throws what a function throws, and TypeError for one that answers a promise, for which nobody waits.
 */
export function retryDelay({ backoff }: ResolvedRetryPolicy, attempt: number, error: unknown, chance: number): number {
  if (typeof backoff === 'function') {
    const delay: unknown = backoff(attempt, error)
    if (!(delay instanceof Promise)) return toDelay(delay)
    void Attended.of(delay)
    throw new TypeError('a backoff function must answer a number, not a promise')
  }
  const { jitter = backoff.type === 'exponential' ? JITTER : 0 } = backoff
  return fullDelay(backoff, attempt) * (1 - jitter * chance)
}

function fullDelay(backoff: BackoffRule, attempt: number): number {
  if (backoff.type === 'fixed') return backoff.delayMs
  const { delayMs, maxDelayMs = Math.max(delayMs, MOST_MS) } = backoff
  return Math.min(delayMs * 2 ** (attempt - 1), maxDelayMs)
}

/** What user code names as a delay, as a time that can be waited for: nothing below 0, nothing above a year. */
export function toDelay(value: unknown): number {
  return typeof value === 'number' && value > 0 ? Math.min(value, LONGEST_MS) : 0
}
