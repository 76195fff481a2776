import { DEFAULT_RETRY, type ResolvedRetryPolicy, retryDelay, toDelay } from '../agent/retry.ts'
import { errorMessage, GatewayError, RetryableError, TerminalError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { loggable } from '../util/loggable.ts'

/** Whether a failed attempt is followed by another, and after how long, in ms. */
export type RetryDecision = { readonly retry: false } | { readonly retry: true; readonly delayMs: number }

/** Faults that every further attempt would meet again: by what was asked, or by what was recorded. */
const HOPELESS: readonly string[] = ['GW_POISON', 'GW_NON_DETERMINISM', 'GW_JOURNAL_FULL']

/** Decides by what was thrown, then by the policy. */
export function decideRetry(
  policy: ResolvedRetryPolicy,
  { error, attempt, chance }: { error: unknown; attempt: number; chance: number },
  logger: Logger,
): RetryDecision {
  if (attempt >= policy.maxAttempts || isHopeless(error)) return { retry: false }
  if (error instanceof RetryableError && error.delayMs !== undefined) {
    return { retry: true, delayMs: toDelay(error.delayMs) }
  }
  try {
    return { retry: true, delayMs: retryDelay(policy, attempt, error, chance) }
  } catch (cause) {
    const reason = errorMessage(cause)
    logger.error({ err: loggable(cause), attempt, reason }, 'the backoff function threw, using the default')
    return { retry: true, delayMs: retryDelay({ ...policy, backoff: DEFAULT_RETRY.backoff }, attempt, error, chance) }
  }
}

function isHopeless(error: unknown): boolean {
  if (error instanceof TerminalError) return true
  if (!(error instanceof GatewayError)) return false
  return (
    HOPELESS.includes(error.code) || (error.code === 'GW_CONTRACT_VIOLATION' && error.details.direction === 'content')
  )
}
