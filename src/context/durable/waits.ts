import type { RecordedResult } from '../../store/recorded-result.ts'
import { type Deferred, deferred } from '../../util/deferred.ts'
import type { Arrival, HandOver } from './hand-over.ts'
import type { Seat } from './seat.ts'

/** What is waited for: another task's end, a person's answer, a time by Redis or by a timer of this process. */
export type WaitKind = 'agent' | 'user' | 'timer' | 'local'

interface Wait {
  readonly kind: WaitKind
  readonly since: number
  readonly came: Deferred<RecordedResult>
}

/**
 * The results for which one task waits in memory. While there is at least one the task holds no seat; the last one that
 * comes takes a seat again before it is handed over.
 */
export class Waits {
  readonly #seat: Seat
  readonly #waits = new Map<string, Wait>()
  /** Results that came before anybody waited for them. */
  readonly #early = new Map<string, RecordedResult>()
  readonly #expected = new Set<string>()
  /** The results that have come and are not handed over yet, by their operations. */
  readonly #arrivals = new Map<string, Arrival>()
  readonly #handOver: HandOver
  #waiting = 0
  /** Those with a result that wait for the seat. */
  #returning = 0

  constructor(seat: Seat, handOver: HandOver) {
    this.#seat = seat
    this.#handOver = handOver
  }

  get size(): number {
    return this.#waits.size
  }

  /** The operations that are waited for. */
  get ops(): string[] {
    return [...this.#waits.keys()]
  }

  /** The operations of which a result is wanted, whether somebody waits for it yet or not. */
  get all(): string[] {
    return [...this.#waits.keys(), ...this.#expected]
  }

  /** When the oldest wait began (by `performance.now`), or Infinity. */
  get oldest(): number {
    let oldest = Number.POSITIVE_INFINITY
    for (const { since } of this.#waits.values()) oldest = Math.min(oldest, since)
    return oldest
  }

  has(kind: WaitKind): boolean {
    for (const wait of this.#waits.values()) if (wait.kind === kind) return true
    return false
  }

  /** From now on a result of this operation is kept, even if nobody waits for it yet. */
  expect(op: string): void {
    this.#expected.add(op)
  }

  forget(op: string): void {
    this.#expected.delete(op)
    this.#early.delete(op)
    const arrival = this.#arrivals.get(op)
    if (arrival === undefined) return
    this.#arrivals.delete(op)
    this.#handOver.forget(arrival)
  }

  /** Waits for a result that was expected, and for its turn; its operation is to be forgotten then. */
  async result(op: string, kind: WaitKind): Promise<RecordedResult> {
    const result = this.#early.get(op) ?? (await this.#wait(op, kind))
    const arrival = this.#arrivals.get(op)
    const turn = arrival === undefined ? undefined : this.#handOver.turn(arrival)
    if (turn !== undefined) await turn
    return result
  }

  async #wait(op: string, kind: WaitKind): Promise<RecordedResult> {
    this.#expected.delete(op)
    const came = deferred<RecordedResult>()
    this.#waits.set(op, { kind, since: performance.now(), came })
    this.#waiting += 1
    if (this.#waiting === 1) this.#seat.leave()
    let result: RecordedResult
    try {
      result = await came.promise
    } catch (reason) {
      // Who is cancelled goes to his end, whatever room there is.
      this.#waiting -= 1
      throw reason
    }
    this.#waiting -= 1
    if (this.#waiting === 0) await this.#reenter()
    return result
  }

  async #reenter(): Promise<void> {
    this.#returning += 1
    await this.#seat.reenter()
    this.#returning -= 1
  }

  /** A result has come; false if it is not wanted. */
  hear(op: string, result: RecordedResult): boolean {
    const wait = this.#waits.get(op)
    if (wait === undefined && !this.#expected.delete(op)) return false
    this.#arrivals.set(op, this.#handOver.arrive(result.order))
    this.#waits.delete(op)
    if (wait === undefined) this.#early.set(op, result)
    else wait.came.resolve(result)
    return true
  }

  /** Nobody waits any more: all waits are rejected, and what goes on does so without a seat. */
  reject(reason: unknown): void {
    const waits = [...this.#waits.values()]
    this.#waits.clear()
    for (const { came } of waits) {
      came.promise.catch(() => undefined) // the handler may have left it behind
      came.reject(reason)
    }
    // Nor does anybody wait for a seat.
    if (this.#returning > 0) this.#seat.leave()
  }

  /** Nobody waits any more, and nobody is told. */
  drop(): void {
    this.#waits.clear()
    this.#early.clear()
    this.#expected.clear()
    this.#arrivals.clear()
  }
}
