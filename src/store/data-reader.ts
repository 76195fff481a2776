import { DATA_FIELD } from '../protocol/codec.ts'
import type { SessionEvent } from '../protocol/event.ts'
import { EventDecoder } from '../protocol/event-decoder.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { entryField, type RawEntry } from '../redis/streams.ts'
import { ownText } from '../util/own-text.ts'

/** A push on a session's channel: the events of one write, and the id of the entry before them. */
export interface Push {
  readonly before: string
  readonly events: readonly SessionEvent[]
  /** About what they weigh. */
  readonly weight: number
}

/** The first line of a push. */
const PUSHED_IDS = /^\d+-\d+(?: \d+-\d+)+$/

/** A piece of a stream. */
export interface Page {
  readonly events: readonly SessionEvent[]
  /** True if certainly nothing is missing between the cursor and the first event. */
  readonly contiguous: boolean
  /** About what its events weigh. */
  readonly weight: number
}

/** About what a page should weigh: events may be tokens, or pictures. */
export const PAGE_WEIGHT = 4 * 1_048_576

/** How many events, of those that weigh what a page's did, the next one should have; at most `most`. */
export function nextLength({ events, weight }: Page, most: number): number {
  return Math.max(1, Math.min(most, Math.floor((PAGE_WEIGHT * events.length) / Math.max(weight, 1))))
}

/** The reader's end of the data streams: pages, the present end, and the form of a push. */
export class DataReader {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** Events after `afterId`, at most `count`, up to `untilId`. Default: up to the end. */
  async page(sessionId: string, afterId: string, count: number, untilId = '+'): Promise<Page> {
    // The entry at the cursor comes along: as long as it is there, nothing after it can have been trimmed.
    const entries = await this.#redis.call<RawEntry[]>(
      'XRANGE',
      ...[this.#keys.data(sessionId), afterId, untilId, 'COUNT', count + 1],
    )
    const contiguous = entries[0]?.[0] === afterId
    const after = contiguous ? entries.slice(1) : entries.slice(0, count)
    const decoder = new EventDecoder()
    const events = after.map((entry) => decoder.decode(entry[0], entryField(entry, DATA_FIELD)))
    return { contiguous, events, weight: after.reduce((sum, entry) => sum + weightOf(entry), 0) }
  }

  /** Id of the newest entry ever written, `0-0` if the stream does not exist. */
  async lastId(sessionId: string): Promise<string> {
    const newest = await this.#redis.call<RawEntry[]>('XREVRANGE', this.#keys.data(sessionId), '+', '-', 'COUNT', 1)
    return newest[0]?.[0] ?? '0-0'
  }

  /** Id of the oldest entry that is left if others were trimmed before it, else `0-0` (also before Redis 7.0). */
  async trimmedUpTo(sessionId: string): Promise<string> {
    let info: unknown[]
    try {
      info = await this.#redis.call<unknown[]>('XINFO', 'STREAM', this.#keys.data(sessionId))
    } catch (error) {
      if (error instanceof Error && error.message.includes('no such key')) return '0-0'
      throw error
    }
    const value = (name: string) => info[info.indexOf(name) + 1]
    const first = value('first-entry') as RawEntry | null
    const added = info.includes('entries-added') ? Number(value('entries-added')) : 0
    return first !== null && added > Number(value('length')) ? first[0] : '0-0'
  }

  /** The push, or undefined for what somebody else has said on the channel. `decoder` is the session's. */
  parsePush(payload: string, decoder: EventDecoder): Push | undefined {
    const lines = new Pieces(payload, '\n')
    // A reader keeps the id of the last event, and so would keep its text.
    const line = ownText(lines.next() ?? '')
    if (!PUSHED_IDS.test(line)) return undefined
    const ids = new Pieces(line, ' ')
    const before = ids.next() ?? ''
    const events: SessionEvent[] = []
    for (let id = ids.next(); id !== undefined; id = ids.next()) events.push(decoder.decode(id, lines.next()))
    return { before, events, weight: payload.length }
  }

  channel(sessionId: string): string {
    return this.#keys.data(sessionId) + this.#redis.channelTail
  }
}

function weightOf([, fields]: RawEntry): number {
  return fields?.reduce((sum, text) => sum + text.length, 0) ?? 0
}

/** The pieces of a text one by one: most pushes are of one event, and lists of it would be more than the event. */
class Pieces {
  readonly #text: string
  readonly #separator: string
  #at = 0

  constructor(text: string, separator: string) {
    this.#text = text
    this.#separator = separator
  }

  /** Undefined behind the last. */
  next(): string | undefined {
    if (this.#at > this.#text.length) return undefined
    const found = this.#text.indexOf(this.#separator, this.#at)
    const end = found < 0 ? this.#text.length : found
    const piece = this.#text.slice(this.#at, end)
    this.#at = end + this.#separator.length
    return piece
  }
}
