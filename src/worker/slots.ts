import { type Deferred, deferred } from '../util/deferred.ts'

/**
 * Counts the tasks of a worker. A task takes a slot when it is taken from its stream and gives it back when its handler
 * has come to an end; it is closed only when that end is recorded. So the next read can go out together with the
 * recording of the ends; at most as many ends as there are slots can be on their way.
 */
export class Slots {
  readonly total: number
  #used = 0
  #open = 0
  #waiting: Deferred<void> | undefined
  #empty: Deferred<void> | undefined

  constructor(total: number) {
    this.total = total
  }

  /** Tasks whose handlers are not at their end. */
  get used(): number {
    return this.#used
  }

  get free(): number {
    return Math.min(this.total - this.#used, 2 * this.total - this.#open)
  }

  /** Resolves when at least one slot is free. */
  available(): Promise<void> {
    if (this.free > 0) return Promise.resolve()
    this.#waiting ??= deferred()
    return this.#waiting.promise
  }

  /** Resolves when no task is open. */
  drained(): Promise<void> {
    if (this.#open === 0) return Promise.resolve()
    this.#empty ??= deferred()
    return this.#empty.promise
  }

  take(count: number): void {
    this.#used += count
    this.#open += count
  }

  /** A handler has come to its end: its slot is free. */
  give(): void {
    this.#used -= 1
    this.wake()
  }

  /** A task that gave its slot back needs nothing more. */
  close(): void {
    this.#open -= 1
    this.wake()
    if (this.#open > 0) return
    this.#empty?.resolve()
    this.#empty = undefined
  }

  /** Wakes who waits for a slot, also when there is none: to let him look at his state. */
  wake(): void {
    this.#waiting?.resolve()
    this.#waiting = undefined
  }
}
