import { NonDeterminismError } from '../../errors.ts'
import type { RecordedResult } from '../../store/recorded-result.ts'
import type { Doubt } from './doubts.ts'
import { isFailure, isInside, keyAgain, operationKey, type Request, type Slot } from './entry.ts'

/** The kinds of operations that run code and record its end. */
export const RECORDING: readonly string[] = ['step', 'tool']

/** The kinds of operations that have arguments; others of one name can only be told apart by their numbers. */
const TOLD_APART: readonly string[] = ['call', 'ask', 'sleep', 'tool']

/**
 * Finds the recorded operation that a request stands for. It is found by its key; where calls have swapped places, by its
 * kind, name and arguments. The slots and results are the journal's.
 */
export class Matching {
  readonly #slots: ReadonlyMap<string, Slot>
  readonly #results: ReadonlyMap<string, RecordedResult>
  readonly #attempt: number
  /** Made when something is looked for that does not stand in its place. */
  #interchangeable: Map<string, string[]> | undefined

  constructor(slots: ReadonlyMap<string, Slot>, results: ReadonlyMap<string, RecordedResult>, attempt: number) {
    this.#slots = slots
    this.#results = results
    this.#attempt = attempt
  }

  /** The key of a request's entry, the newest where it was begun again, or of the one to be made. */
  find(request: Request): string {
    return this.#latest(this.#match(request))
  }

  #match({ scope, kind, name, ordinal, hash }: Request): string {
    const keyAt = (number: number) => operationKey(scope, kind, name, number)
    const key = keyAt(ordinal)
    const own = this.#slots.get(key)
    if (own !== undefined && own.entry.hash === hash && !own.used) return key
    const other = TOLD_APART.includes(kind) ? this.#sameElsewhere(key, hash) : undefined
    if (other !== undefined) return other
    if (own === undefined) return key
    let free = ordinal + 1
    while (this.#slots.has(keyAt(free))) free += 1
    return keyAt(free)
  }

  /** The same operation, where calls have swapped places: it has another number, or is in a group that has. */
  #sameElsewhere(key: string, hash: string): string | undefined {
    this.#interchangeable ??= this.#findInterchangeable()
    if (this.#interchangeable.size === 0) return undefined
    const keys = this.#interchangeable.get(`${placeOf(key)} ${hash}`) ?? []
    for (let last = keys.at(-1); last !== undefined; last = keys.at(-1)) {
      if (this.#slots.get(last)?.used === false) return last
      keys.pop()
    }
    return undefined
  }

  /** What this run has not asked for until now, by place and arguments; the first at the ends. */
  #findInterchangeable(): Map<string, string[]> {
    const found = new Map<string, string[]>()
    for (const [key, { entry, used }] of this.#slots) {
      if (used || !TOLD_APART.includes(entry.kind) || !/#\d+$/.test(key)) continue
      const place = `${placeOf(key)} ${entry.hash}`
      const same = found.get(place)
      if (same === undefined) found.set(place, [key])
      else same.push(key)
    }
    for (const keys of found.values()) keys.reverse()
    return found
  }

  /** What is in doubt about a new operation: it stands in the place of one that this run has not asked for yet. */
  doubt({ scope, kind, name, ordinal, shown }: Request): Doubt | undefined {
    const place = operationKey(scope, kind, name, ordinal)
    const own = this.#slots.get(place)
    if (own === undefined || own.used || own.entry.openedAt >= this.#triedAgainSince(place)) return undefined
    return { place, error: new NonDeterminismError(place, own.entry.shown, shown) }
  }

  /**
   * When the first operation was opened that came to nothing and is tried again, if there is one: where it comes to
   * something this time, the handler may go another way than it did from there. The steps around a place tell nothing.
   */
  #triedAgainSince(place: string): number {
    let first = Number.POSITIVE_INFINITY
    for (const [key, { entry }] of this.#slots) {
      const result = this.#results.get(key)
      const isTriedAgain = result === undefined ? RECORDING.includes(entry.kind) : this.isOutdated(result)
      // What this run has begun is not opened yet.
      if (isTriedAgain && entry.openedAt > 0 && !isInside(key, place)) first = Math.min(first, entry.openedAt)
    }
    return first
  }

  /** An operation that failed in an earlier attempt was begun again under a key of its own. */
  #latest(key: string): string {
    for (let attempt = this.#attempt; attempt > 1; attempt -= 1) {
      const later = keyAgain(key, attempt)
      if (this.#slots.has(later)) {
        this.#pass(key)
        for (let passed = 2; passed < attempt; passed += 1) this.#pass(keyAgain(key, passed))
        return later
      }
    }
    return key
  }

  #pass(key: string): void {
    const slot = this.#slots.get(key)
    if (slot !== undefined) slot.used = true
  }

  /** What failed in an earlier attempt is tried again in the next. */
  isOutdated({ attempt, value }: RecordedResult): boolean {
    return attempt < this.#attempt && isFailure(value)
  }
}

/** An operation's key without its number, and without that of its group. */
function placeOf(key: string): string {
  return key.replace(/\d+$/, '').replace(/(\/group#)\d+(\[\d+\]\/call:[^/]*#)$/, '$1$2')
}
