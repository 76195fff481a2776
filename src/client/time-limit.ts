import { GatewayError } from '../errors.ts'

const MOST_TIMER_MS = 2 ** 31 - 1

/** @throws GatewayError `GW_INVALID_ARGUMENT` for what no timer of Node can wait for. */
export function checkTimer(field: string, value: number | undefined): void {
  if (value === undefined || (value > 0 && value <= MOST_TIMER_MS)) return
  const reason = `must be a number of milliseconds from 1 to ${MOST_TIMER_MS}`
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason })
}

/** A time and a caller's signal as one signal. */
export interface TimeLimit {
  readonly signal: AbortSignal
  /** True if it was the time that was up. */
  timedOut(): boolean
  /** Ends the watch; to be called once. */
  clear(): void
}

/** A signal that aborts when the caller's does or when the time is up, and tells the two apart. */
export function timeLimit(timeoutMs: number | undefined, signal: AbortSignal | undefined): TimeLimit {
  checkTimer('timeoutMs', timeoutMs)
  const controller = new AbortController()
  let late = false
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          late = true
          controller.abort()
        }, timeoutMs)
  const onAbort = () => controller.abort(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted) onAbort()
  return {
    signal: controller.signal,
    timedOut: () => late,
    clear: () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    },
  }
}
