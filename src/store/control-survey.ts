import { DATA_FIELD } from '../protocol/codec.ts'
import type { RedisClient } from '../redis/client.ts'
import { compareEntryIds, entryField, type RawEntry } from '../redis/streams.ts'

/** Our own field of a control entry: the epoch of the record that waits for it. */
const TURN_FIELD = 'turn'
const PENDING_PAGE = 500
const SMALLEST_PAGE = 10
const LARGEST_PAGE = 200
/** About so many bytes are asked for at once. */
const PAGE_BYTES = 1_048_576

/** That an entry was handed to a consumer and is not acked yet. */
export interface Delivery {
  readonly consumer: string
  /** Time since its last sign of life. */
  readonly idleMs: number
  readonly deliveries: number
}

/** An entry of a control stream, and how things stand with it in the group. */
export interface SurveyedEntry {
  readonly id: string
  readonly data: string | undefined
  /** The epoch of the record that waits for it; empty in a first send. */
  readonly turn: string
  readonly delivery: Delivery | null
  /** True if the group has handed it out at least once; without a delivery now it was acked and not deleted. */
  readonly isDelivered: boolean
}

/** A piece of a walk over a control stream. */
export interface SurveyPage {
  readonly entries: readonly SurveyedEntry[]
  /** Pending entries that are not on the stream any more. */
  readonly ghosts: readonly (Delivery & { readonly id: string })[]
}

/** A consumer group of a stream. */
export interface GroupInfo {
  readonly name: string
  readonly consumers: number
  readonly pending: number
  readonly lastDeliveredId: string
}

/** A consumer of a group. */
export interface ConsumerInfo {
  readonly name: string
  readonly pending: number
  readonly idleMs: number
}

type RawPending = [id: string, consumer: string, idleMs: number, deliveries: number]

/** Looks at control streams and their group without touching them; every call is bounded. */
export class ControlSurvey {
  readonly #redis: RedisClient
  readonly #group: string

  constructor(redis: RedisClient, group: string) {
    this.#redis = redis
    this.#group = group
  }

  /** All groups of a stream; none if there is no such stream. */
  async groups(key: string): Promise<GroupInfo[]> {
    const rows = await this.#info('GROUPS', key)
    return rows.map((row) => ({
      name: String(row.get('name')),
      consumers: Number(row.get('consumers')),
      pending: Number(row.get('pending')),
      lastDeliveredId: String(row.get('last-delivered-id')),
    }))
  }

  /** The consumers of the group; none if there is no such stream or group. */
  async consumers(key: string): Promise<ConsumerInfo[]> {
    const rows = await this.#info('CONSUMERS', key, this.#group)
    return rows.map((row) => ({
      name: String(row.get('name')),
      pending: Number(row.get('pending')),
      idleMs: Number(row.get('idle')),
    }))
  }

  /** How an entry is pending in the group, or null if it is not. */
  async delivery(key: string, id: string): Promise<Delivery | null> {
    const [pending] = await this.#pending(key, id, id, 1)
    return pending === undefined ? null : toDelivery(pending)
  }

  /** True if the entry lies on the stream. */
  async exists(key: string, id: string): Promise<boolean> {
    return (await this.#redis.call<RawEntry[]>('XRANGE', key, id, id)).length > 0
  }

  /** True if the group has not handed out the entry yet, or there is no group. */
  async isBeyond(key: string, id: string): Promise<boolean> {
    const own = (await this.groups(key)).find(({ name }) => name === this.#group)
    return own === undefined || compareEntryIds(id, own.lastDeliveredId) > 0
  }

  /**
   * The entries of a stream, a page at a time, each with its delivery. What comes in meanwhile may be missing.
   *
   * @param fromMs - Only those that were written at this time or later, in Unix ms by Redis' clock. Default: all.
   */
  async *walk(key: string, fromMs = 0): AsyncGenerator<SurveyPage> {
    const own = (await this.groups(key)).find(({ name }) => name === this.#group)
    let after = ''
    let count = SMALLEST_PAGE
    for (;;) {
      const start = after === '' ? String(fromMs) : `(${after}`
      const raw = await this.#redis.call<RawEntry[]>('XRANGE', key, start, '+', 'COUNT', count)
      const isLast = raw.length < count
      const end = isLast ? '+' : (raw.at(-1)?.[0] as string)
      const pending = own === undefined ? [] : await this.#pendingBetween(key, start, end)
      yield await this.#page(key, raw, pending, own?.lastDeliveredId)
      if (isLast) return
      after = end
      count = nextCount(raw)
    }
  }

  async #page(key: string, raw: readonly RawEntry[], pending: readonly RawPending[], last = ''): Promise<SurveyPage> {
    const deliveries = new Map(pending.map((one) => [one[0], one]))
    const entries = raw.map((entry): SurveyedEntry => {
      const delivery = deliveries.get(entry[0])
      deliveries.delete(entry[0])
      return {
        id: entry[0],
        data: entryField(entry, DATA_FIELD),
        turn: entryField(entry, TURN_FIELD) ?? '',
        delivery: delivery === undefined ? null : toDelivery(delivery),
        isDelivered: last !== '' && compareEntryIds(entry[0], last) <= 0,
      }
    })
    // What is left over came after the page was read, or is on the stream no more.
    const rest = [...deliveries.values()]
    const exist = await Promise.all(rest.map(([id]) => this.exists(key, id)))
    const gone = rest.filter((_, index) => exist[index] === false)
    return { entries, ghosts: gone.map((one) => ({ id: one[0], ...toDelivery(one) })) }
  }

  async #pendingBetween(key: string, start: string, end: string): Promise<RawPending[]> {
    const all: RawPending[] = []
    for (let from = start; ; from = `(${all.at(-1)?.[0]}`) {
      const page = await this.#pending(key, from, end, PENDING_PAGE)
      all.push(...page)
      if (page.length < PENDING_PAGE) return all
    }
  }

  /** Without IDLE, which would walk over all that is pending in one call. */
  async #pending(key: string, start: string, end: string, count: number): Promise<RawPending[]> {
    try {
      return await this.#redis.call<RawPending[]>('XPENDING', key, this.#group, start, end, count)
    } catch (error) {
      if (isAbsent(error)) return []
      throw error
    }
  }

  async #info(what: string, ...args: string[]): Promise<Map<string, unknown>[]> {
    try {
      const rows = await this.#redis.call<unknown[][]>('XINFO', what, ...args)
      return rows.map((flat) => {
        const row = new Map<string, unknown>()
        for (let i = 0; i + 1 < flat.length; i += 2) row.set(String(flat[i]), flat[i + 1])
        return row
      })
    } catch (error) {
      if (isAbsent(error)) return []
      throw error
    }
  }
}

/** A stream or a group that does not exist has nothing to show. */
function isAbsent(error: unknown): boolean {
  return error instanceof Error && (error.message.startsWith('NOGROUP') || error.message.includes('no such key'))
}

function toDelivery([, consumer, idleMs, deliveries]: RawPending): Delivery {
  return { consumer, idleMs, deliveries }
}

/** Envelopes may have a megabyte each, or two hundred bytes. */
function nextCount(raw: readonly RawEntry[]): number {
  const bytes = raw.reduce((sum, entry) => sum + (entryField(entry, DATA_FIELD)?.length ?? 0), 0)
  const fitting = Math.floor((raw.length * PAGE_BYTES) / Math.max(1, bytes))
  return Math.min(LARGEST_PAGE, Math.max(SMALLEST_PAGE, fitting))
}
