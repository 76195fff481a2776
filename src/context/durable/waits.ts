import { setImmediate as nextTurn } from 'node:timers/promises'
import { parseResult, type RecordedResult } from '../../store/recorded-result.ts'
import { type Deferred, deferred } from '../../util/deferred.ts'
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
 * comes takes a seat again before it is handed over. None is handed over before those that came earlier: on a replay they
 * would be, and `Promise.race` would find another winner.
 */
export class Waits {
  readonly #seat: Seat
  readonly #waits = new Map<string, Wait>()
  /** Results that came before anybody waited for them. */
  readonly #early = new Map<string, RecordedResult>()
  readonly #expected = new Set<string>()
  /** The orders of the results that have come and are not handed over yet, by their operations. */
  readonly #due = new Map<string, number>()
  #handedOver: Deferred<void> | undefined
  #waiting = 0

  constructor(seat: Seat) {
    this.#seat = seat
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
    this.#settle(op)
  }

  /** True if a result that came before the one of this order is not handed over yet. */
  isBehind(order: number): boolean {
    for (const due of this.#due.values()) if (due < order) return true
    return false
  }

  /** A result that nobody waited for has come, until it is forgotten: later ones are behind it. */
  announce(op: string, order: number): void {
    this.#due.set(op, order)
  }

  /**
   * Resolves when all results that came before the one of this order are with the handler. They depend on the seat, and so
   * on other tasks, but on nothing that this one still does: it has no seat while it waits.
   */
  async turn(order: number): Promise<void> {
    if (!this.isBehind(order)) return
    do {
      this.#handedOver ??= deferred()
      await this.#handedOver.promise
      await nextTurn()
    } while (this.isBehind(order))
  }

  /** Waits for a result that was expected; its operation is to be forgotten when it is handed over. */
  async result(op: string, kind: WaitKind): Promise<RecordedResult> {
    const result = this.#early.get(op) ?? (await this.#wait(op, kind))
    if (this.isBehind(result.order)) await this.turn(result.order)
    return result
  }

  async #wait(op: string, kind: WaitKind): Promise<RecordedResult> {
    this.#expected.delete(op)
    const came = deferred<RecordedResult>()
    this.#waits.set(op, { kind, since: performance.now(), came })
    this.#waiting += 1
    if (this.#waiting === 1) this.#seat.leave()
    try {
      return await came.promise
    } finally {
      this.#waiting -= 1
      if (this.#waiting === 0) await this.#seat.reenter()
    }
  }

  /** A result has come. */
  hear(op: string, text: string): void {
    const wait = this.#waits.get(op)
    if (wait !== undefined) {
      const result = parseResult(text)
      this.#waits.delete(op)
      this.#due.set(op, result.order)
      wait.came.resolve(result)
    } else if (this.#expected.delete(op)) {
      const result = parseResult(text)
      this.#due.set(op, result.order)
      this.#early.set(op, result)
    }
  }

  /** Nobody waits any more: all waits are rejected. */
  reject(reason: unknown): void {
    const waits = [...this.#waits.values()]
    this.#waits.clear()
    for (const { came } of waits) {
      came.promise.catch(() => undefined) // the handler may have left it behind
      came.reject(reason)
    }
  }

  /** Nobody waits any more, and nobody is told. */
  drop(): void {
    this.#waits.clear()
    this.#early.clear()
    this.#expected.clear()
    this.#due.clear()
    this.#settle('')
  }

  #settle(op: string): void {
    this.#due.delete(op)
    this.#handedOver?.resolve()
    this.#handedOver = undefined
  }
}
