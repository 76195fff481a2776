import type { TakenEntry } from '../store/control-streams.ts'

/**
 * What is taken ahead is done within this time, or within that of so many reads if it is longer, as fast as tasks have
 * ended of late. Measured with 1 ms of network each way: with fewer reads the worker runs dry, with more nothing is won.
 */
const REACH_MS = 2
const REACH_READS = 4
/** A server that is far away does not make it longer than this part of a lease. */
const REACH_SHARE = 0.1
const MOST = 500
/** The newest task counts this much in how long they take. */
const NEWEST_SHARE = 1 / 32
/** The quickest read counts, since what waits at the server is of our own making; this much slower ones become known in time. */
const FORGET = 1.05

/**
 * Tasks that were taken ahead of their slots, first in, first out, and how many of them there may be: as many as the worker
 * has lately ended in the time that it takes to fetch the next ones (Little's law). So a worker of short tasks does not
 * wait for Redis after each of them, however few slots it has and however far away the server is. One of longer tasks
 * takes none ahead: its slots hardly ever wait.
 */
export class Ahead {
  readonly #mostReachMs: number
  #entries: TakenEntry[] = []
  /** Tasks that have ended since. */
  #ended = 0
  #since = performance.now()
  /** Tasks per ms. */
  #rate = 0
  /** How long a task takes, in ms; long until it is known to be short. */
  #taskMs = 10
  #readMs = Number.POSITIVE_INFINITY

  constructor(leaseMs: number) {
    this.#mostReachMs = leaseMs * REACH_SHARE
  }

  get size(): number {
    return this.#entries.length
  }

  /** Whose turn is next. */
  get first(): TakenEntry | undefined {
    return this.#entries[0]
  }

  /** How many may wait here now; a look at the clock, and once in a while a new reckoning. */
  allowance(): number {
    const now = performance.now()
    const elapsed = now - this.#since
    const reach = this.reachMs
    if (elapsed >= reach) {
      this.#rate = this.#ended / elapsed
      this.#ended = 0
      this.#since = now
    }
    // Longer ones leave their slots empty for too small a part of their time.
    return this.#taskMs > reach ? 0 : Math.min(MOST, Math.floor(this.#rate * reach))
  }

  /** In this time what waits here should be on its way. */
  get reachMs(): number {
    return Math.min(Math.max(REACH_MS, REACH_READS * this.#readMs), this.#mostReachMs)
  }

  /** A read took so long. */
  noteRead(ms: number): void {
    this.#readMs = Math.min(ms, this.#readMs * FORGET)
  }

  /** A task has ended after so long. */
  noteEnd(ms: number): void {
    this.#ended += 1
    this.#taskMs += (ms - this.#taskMs) * NEWEST_SHARE
  }

  add(entries: readonly TakenEntry[]): void {
    this.#entries.push(...entries)
  }

  /** Takes out the first ones. */
  next(count: number): TakenEntry[] {
    return this.#entries.splice(0, Math.max(count, 0))
  }

  /** Something has happened to a task that may wait here: what was said when it was handed out does not count any more. */
  askAgain(): void {
    this.#entries = this.#entries.map((entry) => ({ ...entry, begun: undefined }))
  }
}
