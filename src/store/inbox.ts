import { DATA_FIELD } from '../protocol/codec.ts'
import type { TaskRef } from '../protocol/ids.ts'
import type { RedisClient } from '../redis/client.ts'
import { BLOCK_MS } from '../redis/connections.ts'
import type { Keys } from '../redis/keys.ts'
import { entryField, type RawEntry } from '../redis/streams.ts'

/*
 * A worker's own control stream. Each message in it is only a wake-up for something durable that lies elsewhere, so the
 * stream is capped, goes an hour after its reader has gone, and is read from its present end on.
 */

const MAX_LENGTH = 10_000
const TTL_MS = 3_600_000
const RENEW_EVERY_MS = TTL_MS / 4
/** What was read is removed when it is so much, in UTF-16 units, or so many messages: results may be large. */
const MOST_READ_UNITS = 1_048_576
const MOST_READ = 1_000
const WAKE_FIELD = 'wake'
const RESULT_FIELD = 'result'
const AGENDA = 'agenda'
const LANES = 'lanes'
const FORGET = 'forget '

/** A result for which a task of the worker waits; `text` is '' if it must be read. */
export interface ReplyWake {
  readonly task: TaskRef
  readonly op: string
  readonly text: string
}

/** An order to load plugins anew, to be answered under its id. */
export interface ReloadOrder {
  readonly requestId: string
  /** Undefined: all of them. */
  readonly pluginId: string | undefined
}

/**
 * What reaches a worker: a command for it, as an envelope, the word that its agenda has something earlier, that
 * something lies on its own lanes, a result for which one of its tasks waits, the order to load plugins anew, or that a
 * session was deleted, of which it is to keep nothing in its memory.
 */
export type InboxMessage =
  | { readonly kind: 'command'; readonly data: string }
  | ({ readonly kind: 'reply' } & ReplyWake)
  | ({ readonly kind: 'reload' } & ReloadOrder)
  | { readonly kind: 'forget'; readonly sessionId: string }
  | { readonly kind: 'agenda' | 'lanes' }

/** How a script writes to an inbox: the stem of its key, its length and its time to live. See lua/include/answers.lua. */
export function inboxForm(keys: Keys): string {
  return `${keys.inbox('')} ${MAX_LENGTH} ${TTL_MS}`
}

/** The sender's end of the workers' inboxes. */
export class InboxWriter {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** Hands a worker a command, as an envelope. */
  send(workerId: string, data: string): Promise<void> {
    return this.#add(workerId, [DATA_FIELD, data])
  }

  /** Tells the keepers of agenda shards to look again. */
  async wakeKeepers(workerIds: ReadonlySet<string>): Promise<void> {
    await Promise.all([...workerIds].map((workerId) => this.#add(workerId, [DATA_FIELD, '{}', WAKE_FIELD, AGENDA])))
  }

  /** Tells workers to look at their own lanes. */
  async wakeForLanes(workerIds: ReadonlySet<string>): Promise<void> {
    await Promise.all([...workerIds].map((workerId) => this.#add(workerId, [DATA_FIELD, '{}', WAKE_FIELD, LANES])))
  }

  /** Tells the owner of a task that a result has come. */
  reply({ owner, task, op, text }: ReplyWake & { readonly owner: string }): Promise<void> {
    const what = `reply ${task.sessionId} ${task.messageId} ${op}`
    return this.#add(owner, [DATA_FIELD, '{}', WAKE_FIELD, what, RESULT_FIELD, text])
  }

  /** Orders a worker to load its plugins, or one of them, anew. */
  reloadPlugins(workerId: string, { requestId, pluginId }: ReloadOrder): Promise<void> {
    const what = ['reload', requestId, ...(pluginId === undefined ? [] : [pluginId])].join(' ')
    return this.#add(workerId, [DATA_FIELD, '{}', WAKE_FIELD, what])
  }

  /** Tells workers that a session was deleted. */
  async forget(workerIds: Iterable<string>, sessionId: string): Promise<void> {
    const fields = [DATA_FIELD, '{}', WAKE_FIELD, `${FORGET}${sessionId}`]
    await Promise.all([...workerIds].map((workerId) => this.#add(workerId, fields)))
  }

  async #add(workerId: string, fields: readonly string[]): Promise<void> {
    const key = this.#keys.inbox(workerId)
    await this.#redis.all([
      ['XADD', key, 'MAXLEN', '~', MAX_LENGTH, '*', ...fields],
      ['PEXPIRE', key, TTL_MS],
    ])
  }
}

/** The worker's end of its inbox. */
export class InboxReader {
  readonly #redis: RedisClient
  readonly #blocking: RedisClient
  readonly #key: string
  #last: string | undefined
  #renewedAt = Number.NEGATIVE_INFINITY
  /** What was read and is still there: messages, and how much that is. */
  #read = 0
  #readUnits = 0

  constructor(options: { redis: RedisClient; blocking: RedisClient; keys: Keys; workerId: string }) {
    this.#redis = options.redis
    this.#blocking = options.blocking
    this.#key = options.keys.inbox(options.workerId)
  }

  /** Notes where the inbox ends: what came before is nothing to this worker. */
  async open(): Promise<void> {
    const [newest] = await this.#redis.call<RawEntry[]>('XREVRANGE', this.#key, '+', '-', 'COUNT', 1)
    this.#last = newest?.[0] ?? '0-0'
  }

  /** Waits a while for messages; answers none when none came. */
  async read(): Promise<InboxMessage[]> {
    await this.#renew()
    await this.#tidy()
    const reply = await this.#blocking.call<[string, RawEntry[]][] | null>(
      'XREAD',
      ...['COUNT', 100, 'BLOCK', BLOCK_MS, 'STREAMS', this.#key, this.#last ?? '$'],
    )
    const entries = reply?.[0]?.[1] ?? []
    this.#last = entries.at(-1)?.[0] ?? this.#last
    this.#read += entries.length
    for (const entry of entries) this.#readUnits += unitsOf(entry)
    return entries.map((entry): InboxMessage => {
      const what = entryField(entry, WAKE_FIELD)
      if (what?.startsWith('reply ')) return toReply(what, entryField(entry, RESULT_FIELD) ?? '')
      if (what?.startsWith('reload ')) {
        const [, requestId = '', ...id] = what.split(' ')
        return { kind: 'reload', requestId, pluginId: id.length === 0 ? undefined : id.join(' ') }
      }
      if (what?.startsWith(FORGET)) return { kind: 'forget', sessionId: what.slice(FORGET.length) }
      if (what !== undefined) return { kind: what === LANES ? 'lanes' : 'agenda' }
      return { kind: 'command', data: entryField(entry, DATA_FIELD) ?? '' }
    })
  }

  /** Who writes gives a time to live only to a stream that is new. */
  async #renew(): Promise<void> {
    if (performance.now() - this.#renewedAt < RENEW_EVERY_MS) return
    await this.#redis.call('PEXPIRE', this.#key, TTL_MS)
    this.#renewedAt = performance.now()
  }

  /** Nobody else reads it, and nobody reads it twice. */
  async #tidy(): Promise<void> {
    if (this.#last === undefined || (this.#read < MOST_READ && this.#readUnits < MOST_READ_UNITS)) return
    await this.#redis.call('XTRIM', this.#key, 'MINID', '~', this.#last)
    this.#read = 0
    this.#readUnits = 0
  }

  /** Removes the inbox of a worker that leaves. */
  async remove(): Promise<void> {
    await this.#redis.call('DEL', this.#key)
  }
}

function unitsOf([, fields]: RawEntry): number {
  return fields?.reduce((units, text) => units + text.length, 0) ?? 0
}

/** Ids hold no spaces, operations may. */
function toReply(what: string, text: string): InboxMessage {
  const [, sessionId = '', messageId = '', ...op] = what.split(' ')
  return { kind: 'reply', task: { sessionId, messageId }, op: op.join(' '), text }
}
