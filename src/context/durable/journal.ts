import { GatewayError, NonDeterminismError } from '../../errors.ts'
import { isObject, parseJson } from '../../protocol/json.ts'
import type { RawJournal } from '../../store/raw-journal.ts'
import { parseResult, type RecordedResult } from '../../store/recorded-result.ts'
import type { Fingerprint } from './args.ts'
import type { Doubt } from './doubts.ts'

/** What a journal keeps of an operation. */
export interface Entry {
  readonly kind: string
  readonly name: string
  readonly hash: string
  /** The beginning of its arguments. */
  readonly shown: string
  /** When it was opened, Unix ms by Redis' clock. */
  readonly openedAt: number
  /** Where the session's stream ended then, if that was asked for. */
  readonly after: string
}

/** An operation that a handler asks for. */
export interface Request extends Fingerprint {
  readonly scope: string
  readonly kind: string
  readonly name: string
  readonly ordinal: number
}

/** An operation as it is to be carried out: `entry` and `result` as far as earlier runs have come. */
export interface Operation {
  readonly key: string
  readonly entry: Entry | undefined
  readonly result: RecordedResult | undefined
  /** Its entry as JSON, to be noted. */
  readonly json: string
  /** To be settled before it is carried out. */
  readonly doubt?: Doubt | undefined
}

/** The kind of the operations that say which changes in place a task goes along with. */
export const PATCH = 'patch'

/** The kinds of operations that have arguments; others of one name can only be told apart by their numbers. */
const TOLD_APART: readonly string[] = ['call', 'ask', 'sleep', 'tool']

/** So many operations a task may have. */
const MOST_OPERATIONS = 50_000

interface Slot {
  readonly entry: Entry
  used: boolean
}

/**
 * What earlier runs of a task's handler have done, and which of it this run has asked for again. An operation is found by
 * its key; where calls have swapped places, by its kind, name and arguments.
 */
export class Journal {
  readonly #slots = new Map<string, Slot>()
  readonly #results = new Map<string, RecordedResult>()
  /** Made when something is looked for that does not stand in its place. */
  #interchangeable: Map<string, string[]> | undefined
  readonly #attempt: number
  readonly #readAt: number
  readonly #read = performance.now()

  constructor(attempt: number, raw: RawJournal = { now: 0, fields: new Map() }) {
    this.#attempt = attempt
    this.#readAt = raw.now
    for (const [field, text] of raw.fields) {
      if (field.startsWith('=')) this.#results.set(field.slice(1), parseResult(text))
      else if (field !== 'n') this.#slots.set(field, { entry: parseEntry(text), used: false })
    }
  }

  /** Redis' time now, as far as it was known when the journal was read; Unix ms. */
  get now(): number {
    return this.#readAt + performance.now() - this.#read
  }

  /** The order of the newest result. */
  get lastOrder(): number {
    let last = 0
    for (const { order } of this.#results.values()) last = Math.max(last, order)
    return last
  }

  /** What is noted under a key. */
  entry(key: string): Entry | undefined {
    return this.#slots.get(key)?.entry
  }

  result(key: string): RecordedResult | undefined {
    return this.#results.get(key)
  }

  /** The plugins with which the task was last suspended, as JSON; undefined if that was never noted. */
  get versions(): string | undefined {
    const noted = this.#results.get(versionsKey(this.versionNotes - 1))?.value
    return typeof noted === 'string' ? noted : undefined
  }

  /** How often {@link versions} was noted. */
  get versionNotes(): number {
    let count = 0
    while (this.#results.has(versionsKey(count))) count += 1
    return count
  }

  /** True for a step that was recorded and said something. */
  hasSpoken(key: string): boolean {
    if (this.#slots.get(key)?.entry.kind !== 'step') return false
    const value = this.#results.get(key)?.value
    return isObject(value) && typeof value.z === 'string' && value.z !== ''
  }

  /** The steps, all or those below a key, that {@link hasSpoken | have spoken}. */
  spokenSteps(below = ''): string[] {
    return [...this.#slots.keys()].filter((key) => key.startsWith(below) && this.hasSpoken(key))
  }

  /** The calls of agents that have no result yet, by their keys. */
  get openCalls(): string[] {
    return [...this.#slots].flatMap(([key, { entry }]) => {
      return entry.kind === 'call' && !this.#results.has(key) ? [key] : []
    })
  }

  /** True if this run has asked for what was recorded under a key. */
  isAsked(key: string): boolean {
    return this.#slots.get(key)?.used === true
  }

  /** The keys under which an operation was begun in earlier attempts, and came to nothing. */
  failedBefore(key: string): string[] {
    const [, first, attempt] = /^(.*#\d+)~(\d+)$/s.exec(key) ?? []
    if (first === undefined) return []
    const earlier = Array.from({ length: Number(attempt) - 1 }, (_, at) => (at === 0 ? first : `${first}~${at + 1}`))
    return earlier.filter((one) => isFailure(this.#results.get(one)?.value))
  }

  /** What earlier runs have begun and this run has not asked for yet, as far as there is no result, by key. */
  get unasked(): string[] {
    return [...this.#slots].flatMap(([key, { used }]) => (used || this.#results.has(key) ? [] : [key]))
  }

  /** A result has come. If this run has not asked for it yet, it is recorded for the time when it does. */
  learn(key: string, result: RecordedResult): void {
    const slot = this.#slots.get(key)
    if (slot !== undefined && !slot.used && !this.#results.has(key)) this.#results.set(key, result)
  }

  /**
   * True if earlier runs have recorded, in a scope itself and its groups, what this run has not asked for yet. What lies
   * in the body of a step does not count: a recorded step is not gone through again.
   */
  hasMore(scope: string): boolean {
    for (const [key, { entry, used }] of this.#slots) {
      if (used || entry.kind === PATCH || !key.startsWith(`${scope}/`)) continue
      if (this.#stepAround(key, scope.length + 1) === undefined) return true
    }
    return false
  }

  /** The steps in whose bodies an operation lies, by its key; the outermost first. */
  stepsAround(key: string): string[] {
    const steps: string[] = []
    for (let step = this.#stepAround(key, 1); step !== undefined; step = this.#stepAround(key, step.length + 1)) {
      steps.push(step)
    }
    return steps
  }

  /** The first of them whose key has at least so many characters. */
  #stepAround(key: string, from: number): string | undefined {
    for (let slash = key.indexOf('/', from); slash >= 0; slash = key.indexOf('/', slash + 1)) {
      const above = key.slice(0, slash)
      if (this.#slots.get(above)?.entry.kind === 'step') return above
    }
    return undefined
  }

  /**
   * The operation that a request stands for.
   *
   * @throws GatewayError `GW_JOURNAL_FULL` when there are too many.
   */
  claim(request: Request): Operation {
    const { kind, name, hash, shown } = request
    const json = JSON.stringify({ k: kind, m: name, h: hash, a: shown })
    const key = this.#latest(this.#match(request))
    const slot = this.#slots.get(key)
    const result = this.#results.get(key)
    if (slot === undefined || (result !== undefined && this.#isOutdated(result))) {
      if (this.#slots.size >= MOST_OPERATIONS) throw new GatewayError('GW_JOURNAL_FULL', { limit: MOST_OPERATIONS })
      if (slot !== undefined) slot.used = true
      const fresh = slot === undefined ? key : `${key.replace(/~\d+$/, '')}~${this.#attempt}`
      this.#slots.set(fresh, { entry: { kind, name, hash, shown, openedAt: 0, after: '' }, used: true })
      const doubt = slot === undefined ? this.#doubt(request) : undefined
      return { key: fresh, entry: undefined, result: undefined, json, doubt }
    }
    slot.used = true
    return { key, entry: slot.entry, result, json }
  }

  /** The key of a request's entry, or of the one to be made. */
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
  #doubt({ scope, kind, name, ordinal, shown }: Request): Doubt | undefined {
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
      const isTriedAgain = result === undefined ? entry.kind === 'step' : this.#isOutdated(result)
      // What this run has begun is not opened yet.
      if (isTriedAgain && entry.openedAt > 0 && !place.startsWith(`${key}/`)) first = Math.min(first, entry.openedAt)
    }
    return first
  }

  /** An operation that failed in an earlier attempt was begun again under a key of its own. */
  #latest(key: string): string {
    for (let attempt = this.#attempt; attempt > 1; attempt -= 1) {
      const later = `${key}~${attempt}`
      if (this.#slots.has(later)) {
        this.#pass(key)
        for (let passed = 2; passed < attempt; passed += 1) this.#pass(`${key}~${passed}`)
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
  #isOutdated({ attempt, value }: RecordedResult): boolean {
    return attempt < this.#attempt && isFailure(value)
  }
}

export function operationKey(scope: string, kind: string, name: string, ordinal: number): string {
  return `${scope}/${kind}:${name}#${ordinal}`
}

/** An operation's key without its number, and without that of its group. */
function placeOf(key: string): string {
  return key.replace(/\d+$/, '').replace(/(\/group#)\d+(\[\d+\]\/call:[^/]*#)$/, '$1$2')
}

/** Where the plugins of a suspended task are noted; no operation has such a key. */
export function versionsKey(number: number): string {
  return `plugins#${number}`
}

/** Results of called agents and of questions say by `s` how they came about; C is completion, A an answer. */
function isFailure(value: unknown): boolean {
  return isObject(value) && typeof value.s === 'string' && value.s !== 'C' && value.s !== 'A'
}

function parseEntry(text: string): Entry {
  const space = text.indexOf(' ')
  const [openedAt = '0', after = ''] = text.slice(0, space).split('@')
  const json = parseJson(text.slice(space + 1))
  const { k, m, h, a } = json.ok && isObject(json.value) ? json.value : {}
  const about = { kind: String(k), name: String(m), hash: String(h), shown: String(a) }
  return { openedAt: Number(openedAt), after, ...about }
}
