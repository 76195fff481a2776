import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { compareEntryIds } from '../redis/streams.ts'
import { type DeadLetter, HeldLetter, letterFields, type NewDeadLetter, type RawBytes } from './dead-letter.ts'
import { type DeadLetterFilter, letterMatcher, letterRange } from './dead-letter-filter.ts'

/** How long a dead letter waits for an operator, in ms: 30 days. Then it goes, as everything in Redis does one day. */
export const DEAD_LETTER_TTL_MS = 30 * 86_400_000

const FIRST_PAGE = 10
const LARGEST_PAGE = 500
/** About so many bytes a page should have: letters may be tiny, or as large as the largest command. */
const PAGE_BYTES = 4 * 1_048_576

/** Both ends of the dead-letter streams. */
export class DeadLetters {
  readonly #redis: RedisClient
  readonly #keys: Keys
  readonly #ttlMs: number

  /** @param ttlMs - How long a letter is kept. */
  constructor(redis: RedisClient, keys: Keys, ttlMs = DEAD_LETTER_TTL_MS) {
    this.#redis = redis
    this.#keys = keys
    this.#ttlMs = ttlMs
  }

  /**
   * Keeps an entry with all its fields, byte for byte: what cannot be understood need not be text either. May be
   * repeated: true if the letter is new, false if the task has one of the same turn, or the entry its own.
   */
  async add(letter: NewDeadLetter, controlKey: string): Promise<boolean> {
    const { capability, entryId } = letter
    const [entry] = await this.#redis.callBuffer<RawBytes[]>('XRANGE', controlKey, entryId, entryId)
    const place = this.#keys.parse(controlKey)
    const priority = place?.family === 'control' ? place.priority : 'normal'
    const { member, fields } = letterFields(letter, priority, entry?.[1] ?? [])
    const keys = [this.#keys.dead(capability), this.#keys.deadIndex(capability)]
    const [isNew, at] = await this.#redis.script<[number, string]>('bury', keys, [member, this.#ttlMs, ...fields])
    // Another slot, so another call; whoever dies before it does all of this again, because his entry is not acked.
    await this.#note(capability, Number(at))
    return isNew === 1
  }

  /** The capabilities that have letters, or had some within the time that letters are kept; by name. */
  async capabilities(): Promise<string[]> {
    return (await this.#redis.call<string[]>('ZRANGE', this.#keys.deadCapabilities(), 0, -1)).sort()
  }

  count(capability: string): Promise<number> {
    return this.#redis.call<number>('XLEN', this.#keys.dead(capability))
  }

  /** The newest letters that are meant, newest first. */
  async list(filter: DeadLetterFilter, limit: number): Promise<DeadLetter[]> {
    const found: HeldLetter[] = []
    for (const capability of await this.#meant(filter)) {
      let missing = limit
      for await (const page of this.#pages(capability, filter, 'XREVRANGE', limit)) {
        found.push(...page.slice(0, missing))
        missing -= page.length
        if (missing <= 0) break
      }
    }
    found.sort((a, b) => compareEntryIds(b.id, a.id))
    return found.slice(0, limit).map((letter) => letter.toDeadLetter())
  }

  /**
   * All letters that are meant, oldest first, in pages of one capability each. What comes while one walks is left for
   * another time: a letter that is redriven and comes back would else be met for ever.
   */
  async *walk(filter: DeadLetterFilter): AsyncGenerator<HeldLetter[], void, undefined> {
    for (const capability of await this.#meant(filter)) yield* this.#pages(capability, filter, 'XRANGE', LARGEST_PAGE)
  }

  /** Removes letters of one capability; per letter true if it was there, or may have been until the connection was lost. */
  async discard(capability: string, letters: readonly HeldLetter[]): Promise<boolean[]> {
    if (letters.length === 0) return []
    const keys = [this.#keys.dead(capability), this.#keys.deadIndex(capability)]
    const args = letters.flatMap(({ id, member }) => [id, member])
    const { losses } = this.#redis
    const removed = await this.#redis.script<number[]>('discard', keys, args)
    // Sent again after a lost answer, it finds no more what its first copy has removed.
    const isFirst = this.#redis.losses === losses
    return removed.map((flag) => flag === 1 || !isFirst)
  }

  async #meant({ capability }: DeadLetterFilter): Promise<string[]> {
    return capability === undefined ? this.capabilities() : [capability]
  }

  async *#pages(
    capability: string,
    filter: DeadLetterFilter,
    command: 'XRANGE' | 'XREVRANGE',
    wanted: number,
  ): AsyncGenerator<HeldLetter[], void, undefined> {
    const key = this.#keys.dead(capability)
    const [newest] = await this.#redis.callBuffer<RawBytes[]>('XREVRANGE', key, '+', '-', 'COUNT', 1)
    const range = newest === undefined ? null : letterRange(filter, String(newest[0]))
    if (range === null) return
    const isMeant = letterMatcher(filter)
    const isForward = command === 'XRANGE'
    let [from, to] = isForward ? [range.first, range.last] : [range.last, range.first]
    let count = Math.min(FIRST_PAGE, wanted)
    for (;;) {
      const page = await this.#redis.callBuffer<RawBytes[]>(command, key, from, to, 'COUNT', count)
      const meant = page.map((raw) => new HeldLetter(capability, raw)).filter(isMeant)
      if (meant.length > 0) yield meant
      const last = page.at(-1)
      if (last === undefined || page.length < count) return
      from = `(${last[0]}`
      count = nextCount(page)
    }
  }

  async #note(capability: string, at: number): Promise<void> {
    const key = this.#keys.deadCapabilities()
    await this.#redis.all([
      ['ZADD', key, 'GT', at, capability],
      ['ZREMRANGEBYSCORE', key, '-inf', `(${at - this.#ttlMs}`],
      ['PEXPIRE', key, this.#ttlMs],
    ])
  }
}

/** As many entries as should be about a page, going by the size of those in the last one. */
function nextCount(page: readonly RawBytes[]): number {
  const bytes = page.reduce((sum, [, fields]) => fields.reduce((inner, part) => inner + part.length, sum), 1)
  return Math.max(1, Math.min(LARGEST_PAGE, Math.floor((PAGE_BYTES * page.length) / bytes)))
}
