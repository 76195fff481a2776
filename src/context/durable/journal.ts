import { GatewayError } from '../../errors.ts'
import { isObject } from '../../protocol/json.ts'
import type { RawJournal } from '../../store/raw-journal.ts'
import { parseResult, type RecordedResult } from '../../store/recorded-result.ts'
import type { Doubt } from './doubts.ts'
import { type Entry, isFailure, isInside, keyAgain, PATCH, parseEntry, type Request, type Slot } from './entry.ts'
import { Matching, RECORDING } from './matching.ts'

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

/** So many operations a task may have. */
const MOST_OPERATIONS = 50_000

/**
 * What earlier runs of a task's handler have done, and which of it this run has asked for again; {@link Matching} finds it.
 */
export class Journal {
  readonly #slots = new Map<string, Slot>()
  readonly #results = new Map<string, RecordedResult>()
  readonly #matching: Matching
  readonly #attempt: number
  /** The order of the newest result. */
  readonly lastOrder: number
  readonly #readAt: number
  readonly #read = performance.now()

  constructor(attempt: number, raw: RawJournal = { now: 0, fields: new Map() }) {
    this.#attempt = attempt
    this.#matching = new Matching(this.#slots, this.#results, attempt)
    this.#readAt = raw.now
    const results = [...raw.fields].filter(([field]) => field.startsWith('='))
    for (const [field, text] of raw.fields) {
      if (!field.startsWith('=') && field !== 'n') this.#slots.set(field, { entry: parseEntry(text), used: false })
    }
    let last = 0
    for (const [field, text] of results) {
      const key = field.slice(1)
      const result = parseResult(text)
      last = Math.max(last, result.order)
      if (!this.#isTriedAgain(key, result)) this.#results.set(key, result)
    }
    this.lastOrder = last
  }

  /** Redis' time now, as far as it was known when the journal was read; Unix ms. */
  get now(): number {
    return this.#readAt + performance.now() - this.#read
  }

  /** What is noted under a key. */
  entry(key: string): Entry | undefined {
    return this.#slots.get(key)?.entry
  }

  result(key: string): RecordedResult | undefined {
    return this.#results.get(key)
  }

  /** True for a step that was recorded and said something. */
  hasSpoken(key: string): boolean {
    if (this.#slots.get(key)?.entry.kind !== 'step') return false
    const value = this.#results.get(key)?.value
    return isObject(value) && typeof value.z === 'string' && value.z !== ''
  }

  /** The steps, all or those in the body of one, that {@link hasSpoken | have spoken}. */
  spokenSteps(around?: string): string[] {
    const isMeant = (key: string) => around === undefined || isInside(around, key)
    return [...this.#slots.keys()].filter((key) => isMeant(key) && this.hasSpoken(key))
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
    const earlier = Array.from({ length: Number(attempt) - 1 }, (_, at) => (at === 0 ? first : keyAgain(first, at + 1)))
    return earlier.filter((one) => isFailure(this.#results.get(one)?.value))
  }

  /** What earlier runs have begun and this run has not asked for yet, as far as there is no result, by key. */
  get unasked(): string[] {
    return [...this.#slots].flatMap(([key, { used }]) => (used || this.#results.has(key) ? [] : [key]))
  }

  /** A result has come. If this run has not asked for it yet, it is recorded for the time when it does. */
  learn(key: string, result: RecordedResult): void {
    const slot = this.#slots.get(key)
    const isNews = slot !== undefined && !slot.used && !this.#results.has(key)
    if (isNews && !this.#isTriedAgain(key, result)) this.#results.set(key, result)
  }

  /**
   * True for what came of a step or a tool that failed in an earlier attempt: as if it had been interrupted, that is carried
   * out again under its own key, which is part of the keys of all that was completed in its body.
   */
  #isTriedAgain(key: string, result: RecordedResult): boolean {
    const kind = this.#slots.get(key)?.entry.kind ?? ''
    return RECORDING.includes(kind) && this.#matching.isOutdated(result)
  }

  /**
   * True if earlier runs have recorded, in a scope itself and its groups, what this run has not asked for yet. What lies
   * in the body of a step does not count: a recorded step is not gone through again.
   */
  hasMore(scope: string): boolean {
    for (const [key, { entry, used }] of this.#slots) {
      if (used || entry.kind === PATCH || !isInside(scope, key)) continue
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
      if (this.#slots.get(above)?.entry.kind === 'step' && isInside(above, key)) return above
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
    const key = this.#matching.find(request)
    const slot = this.#slots.get(key)
    const result = this.#results.get(key)
    if (slot === undefined || (result !== undefined && this.#matching.isOutdated(result))) {
      if (this.#slots.size >= MOST_OPERATIONS) throw new GatewayError('GW_JOURNAL_FULL', { limit: MOST_OPERATIONS })
      if (slot !== undefined) slot.used = true
      const fresh = slot === undefined ? key : keyAgain(key.replace(/~\d+$/, ''), this.#attempt)
      this.#slots.set(fresh, { entry: { kind, name, hash, shown, openedAt: 0, after: '' }, used: true })
      const doubt = slot === undefined ? this.#matching.doubt(request) : undefined
      return { key: fresh, entry: undefined, result: undefined, json, doubt }
    }
    slot.used = true
    return { key, entry: slot.entry, result, json }
  }
}
