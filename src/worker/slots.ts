import { type Deferred, deferred } from '../util/deferred.ts'

/** Most tasks that wait in memory; who waits longest is suspended before there are more. */
export const MOST_AWAY = 5_000
/** Ends that may be on their way to Redis at once where there are fewer slots. */
const MOST_UNRECORDED = 400

/**
 * Counts the tasks of a worker. A task takes a slot when it is taken from its stream and gives it back when its handler
 * has come to an end; it is closed only when that end is recorded. So the next read can go out together with the
 * recording of the ends; at most as many ends as there are slots, or {@link MOST_UNRECORDED}, can be on their way.
 *
 * A task that waits for others is away: it has no slot, and takes one again, before any new task does, when it goes on.
 */
export class Slots {
  readonly total: number
  #used = 0
  #open = 0
  #away = 0
  readonly #returning = new Set<Seat>()
  #waiting: Deferred<void> | undefined
  #empty: Deferred<void> | undefined

  constructor(total: number) {
    this.total = total
  }

  /** Tasks whose handlers are not at their end. */
  get used(): number {
    return this.#used
  }

  /** Most tasks at a time that run or whose end is being recorded. */
  get mostOpen(): number {
    return this.total + Math.max(this.total, MOST_UNRECORDED)
  }

  get free(): number {
    // Those that were away come back or end whatever room there is; while any waits to come back, there is none.
    return Math.max(Math.min(this.total - this.#used, this.mostOpen - this.#open, MOST_AWAY - this.#away), 0)
  }

  /** Tasks that wait for others, and for their slot when they go on. */
  get away(): number {
    return this.#away
  }

  /** Resolves when at least one slot is free. */
  available(): Promise<void> {
    if (this.free > 0) return Promise.resolve()
    this.#waiting ??= deferred()
    return this.#waiting.promise
  }

  /** Resolves when no task is open. */
  drained(): Promise<void> {
    if (this.#open + this.#away === 0) return Promise.resolve()
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
    this.#admit()
    this.wake()
  }

  /** The place of one task that was taken; `onLeft` is told after how many ms its handler had come to its end. */
  seat(onLeft?: (ms: number) => void): Seat {
    return new Seat(this, onLeft)
  }

  /** Lets a task go away; only for {@link Seat}. */
  leave(): void {
    this.#open -= 1
    this.#away += 1
    this.give()
  }

  /** Takes a task that was away in again, at once or when its turn has come; only for {@link Seat}. */
  return(seat: Seat): void {
    this.#returning.add(seat)
    this.#admit()
  }

  /** A task that was away comes to its end without a slot; only for {@link Seat}. */
  quit(seat: Seat): void {
    this.stay(seat)
    this.#away -= 1
    this.#open += 1
    this.wake()
  }

  /** A task that was about to return stays away; only for {@link Seat}. */
  stay(seat: Seat): void {
    this.#returning.delete(seat)
  }

  #admit(): void {
    for (const seat of this.#returning) {
      if (this.#used >= this.total) return
      this.#returning.delete(seat)
      this.#used += 1
      this.#open += 1
      this.#away -= 1
      seat.admit()
    }
  }

  /** A task that gave its slot back needs nothing more. */
  close(): void {
    this.#open -= 1
    this.wake()
    if (this.#open + this.#away > 0) return
    this.#empty?.resolve()
    this.#empty = undefined
  }

  /** Wakes who waits for a slot, also when there is none: to let him look at his state. */
  wake(): void {
    this.#waiting?.resolve()
    this.#waiting = undefined
  }
}

/** The slot of one task: it is in, away, or about to return; and gone when its handler has come to its end. */
export class Seat {
  readonly #slots: Slots
  #state: 'in' | 'away' | 'returning' | 'gone' = 'in'
  #returned: Deferred<void> | undefined
  readonly #since = performance.now()
  readonly #onLeft: ((ms: number) => void) | undefined

  constructor(slots: Slots, onLeft?: (ms: number) => void) {
    this.#slots = slots
    this.#onLeft = onLeft
  }

  /** The task waits for others. */
  leave(): void {
    if (this.#state === 'returning') {
      // It waits again before it had its slot; what called it back goes on without.
      this.#slots.stay(this)
      this.#state = 'away'
      this.#returned?.resolve()
    } else if (this.#state === 'in') {
      this.#state = 'away'
      this.#slots.leave()
    }
  }

  /** Resolves when the task has a slot again. */
  reenter(): Promise<void> {
    if (this.#state === 'away') {
      this.#state = 'returning'
      this.#returned = deferred()
      this.#slots.return(this)
    }
    return this.#returned?.promise ?? Promise.resolve()
  }

  /** The handler has come to its end. */
  give(): void {
    if (this.#state === 'gone') return
    this.#onLeft?.(performance.now() - this.#since)
    if (this.#state === 'in') this.#slots.give()
    else this.#slots.quit(this)
    this.#state = 'gone'
    this.#returned?.resolve()
  }

  /** Called by {@link Slots}. */
  admit(): void {
    this.#state = 'in'
    this.#returned?.resolve()
  }
}
