import type { RedisClient } from '../redis/client.ts'
import { BLOCK_MS } from '../redis/connections.ts'
import type { RawEntry } from '../redis/streams.ts'
import { isGroupGone, LET_GO_MS } from './control-leases.ts'
import { type ControlStream, idsByStream, type TakenEntry } from './control-streams.ts'

const CLUSTER_BLOCK_MS = 1_000
/** A consumer has no more than this: at most 5,000 tasks that run, as many that wait, and as many ends on their way. */
const MOST_UNHEARD = 16_000

/** What a read may take: never more than `budget`, one step after the other. */
export interface TakePlan {
  readonly budget: number
  readonly streams: readonly ControlStream[]
  /** A step takes at most `most`, evenly, from `count` of the streams, beginning with number `first`. */
  readonly steps: readonly { readonly first: number; readonly count: number; readonly most: number }[]
}

/** Per stream's key, an entry behind which everything is new. */
export type Ends = ReadonlyMap<string, string>

/** What a read brought. */
export interface Taken {
  readonly entries: TakenEntry[]
  /** Where the streams end; only if it was asked for and all of them were found empty. */
  readonly ends: Ends | undefined
  /** Why the read ended early, if it did; what had been taken by then is taken. */
  readonly fault: Error | undefined
}

type StreamsReply = [key: string, entries: RawEntry[]][] | null

/** Entries to ack and delete, by the key of their stream. */
export type Settled = ReadonlyMap<string, readonly string[]>

/** How tasks are begun as they are handed out. */
export interface Begins {
  /** The list of the newest sends: see begin-newest.lua. */
  readonly newest: string
  /** What the keys of records begin with. */
  readonly taskHead: string
  /** Version of the worker, or ''. */
  readonly version: string
}

/** What a {@link ControlReader} reads, and how. */
export interface ControlReaderOptions {
  readonly redis: RedisClient
  readonly blocking: RedisClient
  readonly streams: readonly ControlStream[]
  readonly group: string
  readonly consumer: string
  /** Tasks are begun as they are handed out; only on a single Redis. Default: they are not. */
  readonly begins?: Begins | undefined
}

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
  readonly #begins: Begins | undefined
  #blockingId: Promise<number | undefined> | undefined

  constructor(options: ControlReaderOptions) {
    this.streams = options.streams
    this.#redis = options.redis
    this.#blocking = options.blocking
    this.#group = options.group
    this.#consumer = options.consumer
    this.#begins = options.begins
    // There is no telling a Cluster which of its nodes is to end a wait, so there a wait is short.
    this.#blockMs = options.redis.isCluster ? CLUSTER_BLOCK_MS : BLOCK_MS
    this.#byKey = new Map(options.streams.map((stream) => [stream.key, stream]))
    this.#keys = options.streams.map(({ key }) => key)
  }

  /** Makes the consumer groups that are missing; they start at 0, so that what was sent before counts too. */
  async ensureGroups(): Promise<void> {
    await Promise.all(this.streams.map(({ key }) => this.#createGroup(key, 'MKSTREAM')))
  }

  /** The same on streams that only senders make: one that has gone meanwhile is not made again. */
  async joinGroups(streams: readonly ControlStream[]): Promise<void> {
    const joined = streams.map(({ key }) =>
      this.#createGroup(key).catch((error: unknown) => {
        if (!isGroupGone(error)) throw error
      }),
    )
    await Promise.all(joined)
  }

  async #createGroup(key: string, ...options: 'MKSTREAM'[]): Promise<void> {
    try {
      await this.#redis.call('XGROUP', 'CREATE', key, this.#group, '0', ...options)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('BUSYGROUP'))) throw error
    }
  }

  /** Removes those streams that hold nothing; answers those that are there. For lanes of this worker's own only. */
  async dropEmpty(): Promise<ControlStream[]> {
    const lengths = await this.#redis.all<number>(this.#keys.map((key) => ['EXISTS', key] as const))
    const there = this.streams.filter((_, index) => lengths[index] === 1)
    const dropped = await Promise.all(there.map(({ key }) => this.#redis.script<number>('dropLane', [key], [])))
    return there.filter((_, index) => dropped[index] === 0)
  }

  /** Acks and deletes entries of ended tasks. */
  async settle(settled: Settled): Promise<void> {
    if (settled.size === 0) return
    const ids = [...settled.values()].flatMap((group) => [group.length, ...group])
    await this.#redis.script('settle', [...settled.keys()], [this.#group, ...ids])
  }

  /** Takes what is there, without waiting, as the plan says. */
  async take({ budget, streams, steps }: TakePlan, wantsEnds = false): Promise<Taken> {
    const [only] = streams
    const isPlain = this.#begins === undefined && streams.length === 1 && !wantsEnds
    if (only !== undefined && isPlain) return this.#takeFrom(only, budget)
    const { taskHead = '', version = '' } = this.#begins ?? {}
    const askedAt = performance.now()
    const [reply, ids, fault, begun] = await this.#redis.script<
      [NonNullable<StreamsReply>, string[], string, number[]]
    >(
      'take',
      streams.map(({ key }) => key),
      [
        ...[this.#group, this.#consumer, budget, wantsEnds ? 1 : 0, taskHead, version],
        ...steps.flatMap(({ first, count, most }) => [first + 1, first + count, most]),
      ],
    )
    const ends = ids.length === 0 ? undefined : new Map(streams.map(({ key }, index) => [key, ids[index] ?? '0-0']))
    return { entries: this.#taken(reply, askedAt, begun), ends, fault: fault === '' ? undefined : new Error(fault) }
  }

  /** From one stream without a script, which would cost more than the read itself. */
  async #takeFrom({ key }: ControlStream, budget: number): Promise<Taken> {
    const head = ['GROUP', this.#group, this.#consumer, 'COUNT', budget, 'STREAMS', key, '>'] as const
    const askedAt = performance.now()
    const reply = await this.#redis.call<StreamsReply>('XREADGROUP', ...head)
    return { entries: this.#taken(reply, askedAt), ends: undefined, fault: undefined }
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
    const askedAt = performance.now()
    const reading = this.#blocked([...head, 'STREAMS', ...this.#keys, ...this.#keys.map(() => '>')])
    // In the same write: it is carried out when the read has come to its end.
    const beginning = this.#beginNewest()
    const entries = this.#taken(await reading, askedAt)
    const begun = entries.length === 0 ? [] : await beginning
    if (begun.length === 0) return entries
    return entries.map((entry) => {
      const found = begun.find(([key, id]) => key === entry.stream.key && id === entry.id)
      return found === undefined ? entry : { ...entry, maybeBegun: true, begun: found.slice(2) }
    })
  }

  /** What it begins without anybody hearing of it is begun again, by `begin`. */
  async #beginNewest(): Promise<readonly string[][]> {
    if (this.#begins === undefined) return []
    const { newest, version } = this.#begins
    try {
      return await this.#blocking.script<string[][]>('beginNewest', [newest], [this.#group, this.#consumer, version])
    } catch {
      return [] // the read fails likewise, or all is begun as usual
    }
  }

  /** How often connections were lost so far. */
  get losses(): number {
    return this.#redis.losses + this.#blocking.losses
  }

  /**
   * Takes again what this consumer was handed by reads whose answers were lost with their connection: pending, handed
   * out once, and not among what it has. To be called while no read is under way.
   *
   * @param has - Tells what this consumer has.
   */
  async takeUnheard(has: (entry: { stream: ControlStream; id: string }) => boolean): Promise<TakenEntry[]> {
    const taken = this.streams.map(async (stream) => {
      const pending = await this.#redis.call<[string, string, number, number][]>(
        'XPENDING',
        ...[stream.key, this.#group, '-', '+', MOST_UNHEARD, this.#consumer],
      )
      // What was let go, by a former life for instance, is for those who look for that.
      const isUnheard = (id: string, idleMs: number) => idleMs < LET_GO_MS && !has({ stream, id })
      const unheard = pending.filter(([id, , idleMs, deliveries]) => deliveries === 1 && isUnheard(id, idleMs))
      if (unheard.length === 0) return []
      const ids = unheard.map(([id]) => id)
      const askedAt = performance.now()
      const about = [this.#group, this.#consumer, ...ids]
      const entries = await this.#redis.script<RawEntry[]>('takeUnheard', [stream.key], about)
      return entries.map((raw) => ({ stream, id: raw[0], raw, deliveries: 1, askedAt, maybeBegun: true }))
    })
    return (await Promise.all(taken)).flat()
  }

  /** Waits a while until something lies beyond `ends` on any of their streams, and answers on which; takes nothing. */
  async waitBeyond(ends: Ends): Promise<ControlStream[]> {
    const head = ['XREAD', 'COUNT', 1, 'BLOCK', this.#blockMs, 'STREAMS'] as const
    const reply = await this.#blocked([...head, ...ends.keys(), ...ends.values()])
    return (reply ?? []).map(([key]) => this.#byKey.get(key) as ControlStream)
  }

  /** Makes a blocked {@link block} or {@link waitBeyond} return at once; false if none was, or the server does not let us. */
  async unblock(): Promise<boolean> {
    const id = await this.#blockingId
    if (id === undefined || this.#redis.isCluster) return false
    return (await this.#redis.call<number>('CLIENT', 'UNBLOCK', id)) === 1
  }

  /**
   * Gives entries back that were taken and never run, and undoes what `take` has begun: at the end of their stream, for any
   * worker to take at once, or in place, for the next who looks for what was let go.
   */
  async release(entries: readonly TakenEntry[], inPlace = false): Promise<void> {
    const about = [this.#group, this.#consumer, this.#begins?.taskHead ?? '', inPlace ? 1 : 0]
    await Promise.all(
      [...idsByStream(entries)].map(([key, ids]) => this.#redis.script('release', [key], [...about, ...ids])),
    )
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

  #taken(reply: StreamsReply, askedAt: number, begun?: readonly number[]): TakenEntry[] {
    const taken: TakenEntry[] = []
    for (const [key, entries] of reply ?? []) {
      const stream = this.#byKey.get(key) as ControlStream
      for (const raw of entries) {
        // 0: `begin` has to be asked.
        const createdAt = begun?.[taken.length] || undefined
        const maybeBegun = createdAt !== undefined
        taken.push({ stream, id: raw[0], raw, deliveries: 1, askedAt, maybeBegun, begun: createdAt })
      }
    }
    return taken
  }
}
