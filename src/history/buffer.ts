import type { NewHistoryMessage } from '../agent/history.ts'
import { DATA_FIELD } from '../protocol/codec.ts'
import { isObject, parseJson } from '../protocol/json.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { entryField, type RawEntry } from '../redis/streams.ts'
import { Batcher } from '../util/batcher.ts'

/** A message and its session. */
export interface SessionMessage {
  readonly sessionId: string
  readonly message: NewHistoryMessage
}

/** A message that was put by. */
export interface StoredMessage extends SessionMessage {
  readonly entryId: string
}

/** An entry that holds no message: nobody of ours has put it there. */
export interface Unreadable {
  readonly entryId: string
  readonly data: string
}

/** The oldest entries after one of them. */
interface Page {
  readonly stored: readonly StoredMessage[]
  readonly unreadable: readonly Unreadable[]
  readonly lastId: string | undefined
}

/** Most messages that wait, of all workers together. */
export const MOST_BUFFERED = 100_000
const TTL_MS = 30 * 86_400_000
const PAGE = 200
/** A worker that holds the mark and says nothing for this long has died. */
const MARK_MS = 15_000

/**
 * Messages of which a history could not be told, in a stream on Redis: any worker tells them when the history is back.
 * Telling one twice does no harm, so the mark of the one who is at it only saves work.
 */
export class HistoryBuffer {
  readonly #redis: RedisClient
  readonly #key: string
  readonly #mark: string
  readonly #workerId: string
  readonly #batcher: Batcher<string, boolean>

  constructor(redis: RedisClient, keys: Keys, options: { readonly name: string; readonly workerId: string }) {
    const { messages, flusher } = keys.historyBuffer(options.name)
    this.#redis = redis
    this.#key = messages
    this.#mark = flusher
    this.#workerId = options.workerId
    this.#batcher = new Batcher<string, boolean>({
      weigh: ({ length }) => length,
      run: (texts) => this.#add(texts),
    })
  }

  /** Puts a message by; false when there is no room for it. */
  put({ sessionId, message }: SessionMessage): Promise<boolean> {
    return this.#batcher.add(JSON.stringify({ session_id: sessionId, message }))
  }

  length(): Promise<number> {
    return this.#redis.call<number>('XLEN', this.#key)
  }

  async page(after = '-'): Promise<Page> {
    const from = after === '-' ? after : `(${after}`
    const entries = await this.#redis.call<RawEntry[]>('XRANGE', this.#key, from, '+', 'COUNT', PAGE)
    const stored: StoredMessage[] = []
    const unreadable: Unreadable[] = []
    for (const entry of entries) {
      const [entryId] = entry
      const data = entryField(entry, DATA_FIELD) ?? ''
      const one = parse(data)
      if (one === undefined) unreadable.push({ entryId, data })
      else stored.push({ ...one, entryId })
    }
    return { stored, unreadable, lastId: entries.at(-1)?.[0] }
  }

  async remove(entryIds: readonly string[]): Promise<void> {
    if (entryIds.length > 0) await this.#redis.call('XDEL', this.#key, ...entryIds)
  }

  /** Removes all that waits of one session; answers how many messages that were. */
  async removeSession(sessionId: string): Promise<number> {
    let removed = 0
    for (let after: string | undefined = '-'; after !== undefined; ) {
      const { stored, lastId } = await this.page(after)
      const own = stored.filter((one) => one.sessionId === sessionId)
      await this.remove(own.map(({ entryId }) => entryId))
      removed += own.length
      after = lastId
    }
    return removed
  }

  /** True if this worker is, or becomes, the one who tells. */
  async take(): Promise<boolean> {
    const taken = await this.#redis.call<string | null>('SET', this.#mark, this.#workerId, 'NX', 'PX', MARK_MS)
    if (taken !== null) return true
    return (await this.#redis.call<string | null>('GET', this.#mark)) === this.#workerId && this.#stay()
  }

  /** Lets another one tell. */
  async leave(): Promise<void> {
    await this.#redis.call('DEL', this.#mark)
  }

  async #stay(): Promise<boolean> {
    return (await this.#redis.call<number>('PEXPIRE', this.#mark, MARK_MS)) === 1
  }

  async #add(texts: readonly string[]): Promise<boolean[]> {
    const taken = await this.#redis.script<number>('historyPutBy', [this.#key], [MOST_BUFFERED, TTL_MS, ...texts])
    return texts.map((_, index) => index < taken)
  }
}

function parse(text: string): SessionMessage | undefined {
  const json = parseJson(text)
  if (!json.ok || !isObject(json.value)) return undefined
  const { session_id: sessionId, message } = json.value
  if (typeof sessionId !== 'string' || !isObject(message)) return undefined
  // What it is made of is looked at by the store, as when it was new.
  return { sessionId, message: message as object as NewHistoryMessage }
}
