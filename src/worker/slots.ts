import { type Deferred, deferred } from '../util/deferred.ts'

/** Counts the tasks in flight against the limit of this worker. */
export class Slots {
  readonly total: number
  #used = 0
  #waiting: Deferred<void> | undefined
  #empty: Deferred<void> | undefined

  constructor(total: number) {
    this.total = total
  }

  get used(): number {
    return this.#used
  }

  get free(): number {
    return this.total - this.#used
  }

  /** Resolves when at least one slot is free. */
  available(): Promise<void> {
    if (this.free > 0) return Promise.resolve()
    this.#waiting ??= deferred()
    return this.#waiting.promise
  }

  /** Resolves when no slot is in use. */
  drained(): Promise<void> {
    if (this.#used === 0) return Promise.resolve()
    this.#empty ??= deferred()
    return this.#empty.promise
  }

  take(count: number): void {
    this.#used += count
  }

  give(count: number): void {
    this.#used -= count
    this.wake()
    if (this.#used > 0) return
    this.#empty?.resolve()
    this.#empty = undefined
  }

  /** Wakes who waits for a slot, also when there is none: to let him look at his state. */
  wake(): void {
    this.#waiting?.resolve()
    this.#waiting = undefined
  }
}
