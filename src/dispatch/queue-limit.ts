import { sleep } from '../util/sleep.ts'

const FIRST_PAUSE_MS = 25
const LONGEST_PAUSE_MS = 500

/** How many tasks a lane may hold, and what a sender does about a full one. */
export interface QueueLimit {
  /** Most tasks in the lane, waiting or running. Default no limit. */
  readonly maxQueueLength?: number | undefined
  /** Give up at once, or wait until there is room. Default `refuse`. */
  readonly whenFull?: 'refuse' | 'wait' | undefined
  /** How long to wait for room, in ms. Default 30,000. */
  readonly queueTimeoutMs?: number | undefined
  /** Ends the wait early. */
  readonly signal?: AbortSignal | undefined
}

/** How long a send waits for room unless it is told otherwise, in ms. */
export const DEFAULT_QUEUE_TIMEOUT_MS = 30_000

/**
 * Puts something on a queue that may be full: tries once or, with `wait`, until it is taken, with growing pauses so that
 * many senders do not ask all the time, and with jitter so that they do not ask all at once. False: there was no room.
 */
export async function enterQueue(attempt: () => Promise<boolean>, limit: QueueLimit): Promise<boolean> {
  if (await attempt()) return true
  if (limit.whenFull !== 'wait') return false
  const until = performance.now() + (limit.queueTimeoutMs ?? DEFAULT_QUEUE_TIMEOUT_MS)
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    const leftMs = until - performance.now()
    if (leftMs <= 0 || limit.signal?.aborted) return false
    await sleep(Math.min(pauseMs * (0.5 + Math.random()), leftMs), limit.signal)
    if (limit.signal?.aborted) return false
    if (await attempt()) return true
  }
}
