import { GatewayError } from '../errors.ts'
import { onAbort } from '../util/on-abort.ts'
import { MOST_TIMER_MS } from '../util/timer.ts'
import { untilAborted } from '../util/until-aborted.ts'

/** @throws GatewayError `GW_INVALID_ARGUMENT` for what no timer of Node can wait for. */
export function checkTimer(field: string, value: number | undefined): void {
  if (value === undefined || (typeof value === 'number' && value > 0 && value <= MOST_TIMER_MS)) return
  const reason = `must be a number of milliseconds from 1 to ${MOST_TIMER_MS}`
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason })
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` for what is no signal, such as the controller of one. */
export function checkSignal(signal: unknown): void {
  if (signal === undefined || signal === null || signal instanceof AbortSignal) return
  // One of another realm, or of a library.
  const { aborted, addEventListener } = signal as Partial<AbortSignal>
  if (typeof aborted === 'boolean' && typeof addEventListener === 'function') return
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'signal', value: signal, reason: 'must be an AbortSignal' })
}

/** A time and a caller's signal as one signal. */
interface TimeLimit {
  readonly signal: AbortSignal
  /** True if it was the time that was up. */
  timedOut(): boolean
  /** Ends the watch; to be called once. */
  clear(): void
}

/**
 * Waits for something for a time at most, or until a caller's signal aborts; `wait` is told of both by one signal, and
 * left behind then.
 *
 * @throws GatewayError `GW_TIMEOUT` that says what did not come in time, `GW_INVALID_ARGUMENT` for a bad time or
 * signal.
 */
export async function withinTime<Value>(
  what: string,
  { timeoutMs, signal }: { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined },
  wait: (signal: AbortSignal) => Promise<Value>,
): Promise<Value> {
  const limit = timeLimit(timeoutMs, signal)
  try {
    limit.signal.throwIfAborted() // before anything is begun
    // What is left behind may hang on a server that does not answer.
    const value = await untilAborted(wait(limit.signal), limit.signal)
    limit.signal.throwIfAborted()
    return value as Value
  } catch (error) {
    if (!limit.timedOut()) throw error
    throw new GatewayError('GW_TIMEOUT', { what, timeoutMs }, { cause: error })
  } finally {
    limit.clear()
  }
}

/** A signal that aborts when the caller's does or when the time is up, and tells the two apart. */
function timeLimit(timeoutMs: number | undefined, signal: AbortSignal | undefined): TimeLimit {
  checkTimer('timeoutMs', timeoutMs)
  checkSignal(signal)
  const controller = new AbortController()
  let late = false
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          late = true
          controller.abort()
        }, timeoutMs)
  const leave = signal ? onAbort(signal, () => controller.abort(signal.reason)) : undefined
  if (signal?.aborted) controller.abort(signal.reason)
  return {
    signal: controller.signal,
    timedOut: () => late,
    clear: () => {
      clearTimeout(timer)
      leave?.()
    },
  }
}
