import type { RedisClient } from '../redis/client.ts'
import { BLOCK_MS } from '../redis/connections.ts'
import type { Keys, Priority } from '../redis/keys.ts'
import type { RawEntry } from '../redis/streams.ts'

const CLUSTER_BLOCK_MS = 1_000

/** An envelope for a control stream. */
export interface Outgoing {
  readonly capability: string
  readonly data: string
  readonly priority?: Priority | undefined
  /** Which of the task's starts this is for; a first send has none. See begin.lua. */
  readonly turn?: string | undefined
}

/** An entry that goes back to a control stream with the fields it had. */
export interface ReturningEntry {
  readonly capability: string
  readonly priority: Priority
  readonly fields: readonly (readonly [name: string, value: string | Buffer])[]
}

/** The sender's end of the control streams. */
export class ControlWriter {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** Puts envelopes on their streams, all in one call per slot; answers the entries' ids. */
  enqueue(items: readonly Outgoing[]): Promise<readonly string[]> {
    const keyOf = ({ capability, priority }: Outgoing) => this.#keys.control(capability, priority)
    return this.#redis.bySlot(items, keyOf, (part) =>
      this.#redis.script<string[]>(
        'enqueue',
        part.map(keyOf),
        part.flatMap(({ data, turn }) => [data, turn ?? '']),
      ),
    )
  }

  /** Puts entries back on their streams, byte for byte, all in one call per slot. */
  async giveBack(entries: readonly ReturningEntry[]): Promise<void> {
    if (entries.length === 0) return
    const keyOf = ({ capability, priority }: ReturningEntry) => this.#keys.control(capability, priority)
    await this.#redis.bySlot(entries, keyOf, async (part) => {
      const args = part.flatMap(({ fields }) => [fields.length * 2, ...fields.flat()])
      return this.#redis.script<string[]>('giveBack', part.map(keyOf), args)
    })
  }
}

/** One control stream as its reader sees it. */
export interface ControlStream {
  readonly key: string
  readonly capability: string
  readonly priority: Priority
}

/** An entry that was taken from a control stream and is now pending for this consumer. */
export interface TakenEntry {
  readonly stream: ControlStream
  readonly id: string
  readonly raw: RawEntry
  /** How often it was handed to a worker, this time included; more than once if workers died with it. */
  readonly deliveries: number
}

type StreamsReply = [key: string, entries: RawEntry[]][] | null

/** Entries to ack and delete, by the key of their stream. */
export type Settled = ReadonlyMap<string, readonly string[]>

/**
 * The worker's end of the control streams of one slot: reads through the consumer group, acks, gives back. All streams
 * handed in must lie in one slot on a Cluster.
 */
export class ControlReader {
  readonly streams: readonly ControlStream[]
  readonly #redis: RedisClient
  readonly #blocking: RedisClient
  readonly #group: string
  readonly #consumer: string
  readonly #byKey: ReadonlyMap<string, ControlStream>
  readonly #keys: string[]
  readonly #blockMs: number
  #blockingId: Promise<number | undefined> | undefined

  constructor(options: {
    redis: RedisClient
    blocking: RedisClient
    streams: readonly ControlStream[]
    group: string
    consumer: string
  }) {
    this.streams = options.streams
    this.#redis = options.redis
    this.#blocking = options.blocking
    this.#group = options.group
    this.#consumer = options.consumer
    // There is no telling a Cluster which of its nodes is to end a wait, so there a wait is short.
    this.#blockMs = options.redis.isCluster ? CLUSTER_BLOCK_MS : BLOCK_MS
    this.#byKey = new Map(options.streams.map((stream) => [stream.key, stream]))
    this.#keys = options.streams.map(({ key }) => key)
  }

  /** Makes the consumer groups that are missing; they start at 0, so that what was sent before counts too. */
  async ensureGroups(): Promise<void> {
    await Promise.all(
      this.#keys.map((key) =>
        this.#redis.call('XGROUP', 'CREATE', key, this.#group, '0', 'MKSTREAM').catch((error: unknown) => {
          if (!(error instanceof Error && error.message.startsWith('BUSYGROUP'))) throw error
        }),
      ),
    )
  }

  /** Acks and deletes entries of ended tasks. */
  async settle(settled: Settled): Promise<void> {
    if (settled.size === 0) return
    const ids = [...settled.values()].flatMap((group) => [group.length, ...group])
    await this.#redis.script('settle', [...settled.keys()], [this.#group, ...ids])
  }

  /** Takes what is there, without waiting: at most `countPerStream` entries from each of `streams`. */
  async take(streams: readonly ControlStream[], countPerStream: number): Promise<TakenEntry[]> {
    const reply = await this.#redis.call<StreamsReply>(
      'XREADGROUP',
      ...['GROUP', this.#group, this.#consumer, 'COUNT', countPerStream, 'STREAMS'],
      ...streams.map(({ key }) => key),
      ...streams.map(() => '>'),
    )
    return this.#taken(reply)
  }

  /**
   * Waits a while for entries on any of the streams. `countPerStream` bounds each stream, not their sum: the
   * caller gives back what is too much.
   */
  async block(countPerStream: number): Promise<TakenEntry[]> {
    const head = [
      'XREADGROUP',
      'GROUP',
      this.#group,
      this.#consumer,
      'COUNT',
      countPerStream,
      'BLOCK',
      this.#blockMs,
    ] as const
    return this.#taken(await this.#blocked([...head, 'STREAMS', ...this.#keys, ...this.#keys.map(() => '>')]))
  }

  /** Ids of the last entries of all streams. */
  async ends(): Promise<readonly string[]> {
    const newest = await this.#redis.all<RawEntry[]>(
      this.#keys.map((key) => ['XREVRANGE', key, '+', '-', 'COUNT', 1] as const),
    )
    return newest.map((entries) => entries[0]?.[0] ?? '0-0')
  }

  /** Waits a while until something lies beyond `ends` on any of the streams; takes nothing. */
  async waitBeyond(ends: readonly string[]): Promise<void> {
    await this.#blocked(['XREAD', 'COUNT', 1, 'BLOCK', this.#blockMs, 'STREAMS', ...this.#keys, ...ends])
  }

  /** Makes a blocked {@link block} or {@link waitBeyond} return at once; false if none was, or the server does not let us. */
  async unblock(): Promise<boolean> {
    const id = await this.#blockingId
    if (id === undefined || this.#redis.isCluster) return false
    return (await this.#redis.call<number>('CLIENT', 'UNBLOCK', id)) === 1
  }

  /** Gives entries back that were taken and never begun, for any worker to take. */
  async release(entries: readonly TakenEntry[]): Promise<void> {
    const byKey = new Map<string, string[]>()
    for (const { stream, id } of entries) byKey.set(stream.key, [...(byKey.get(stream.key) ?? []), id])
    await Promise.all([...byKey].map(([key, ids]) => this.#redis.script('release', [key], [this.#group, ...ids])))
  }

  async #blocked([command, ...args]: readonly [string, ...(string | number)[]]): Promise<StreamsReply> {
    if (this.#blockingId === undefined) this.#identify()
    try {
      return await this.#blocking.call<StreamsReply>(command, ...args)
    } catch (error) {
      this.#blockingId = undefined // the connection that comes next has another id
      throw error
    }
  }

  /** Asks for the blocking connection's id, in the same write as the read that follows. */
  #identify(): void {
    this.#blockingId = this.#blocking.call<number>('CLIENT', 'ID').catch(() => undefined) // the read fails likewise
  }

  #taken(reply: StreamsReply): TakenEntry[] {
    return (reply ?? []).flatMap(([key, entries]) => {
      const stream = this.#byKey.get(key) as ControlStream
      return entries.map((raw) => ({ stream, id: raw[0], raw, deliveries: 1 }))
    })
  }
}
