import type { RedisClient } from '../redis/client.ts'
import { slotGroups } from '../redis/slots.ts'
import type { RawEntry } from '../redis/streams.ts'
import type { ControlStream, TakenEntry } from './control-streams.ts'

/** More pending entries than one consumer can have: at most 5,000 slots, as many ends on their way, and those that wait. */
const MOST_PENDING = 20_000
/** How long the lane of a version is kept that holds nothing and that nobody reads. */
const EMPTY_LANE_MS = 86_400_000
/** Ids in one call; Lua's stack ends at some 8,000 values. */
const MOST_IDS = 2_000
/** What was let go counts as silent for longer than this, and no lease is as long: surrender.lua. */
export const LET_GO_MS = 29 * 86_400_000
/** Most entries of one stream that a walk takes over. */
const MOST_RECLAIMED = 100

type ReclaimReply = [cursor: string, taken: [...RawEntry, deliveries: number][]]

/** How far a server's clock is ahead of `performance.now()`, in ms. */
interface Clock {
  readonly least: number
  readonly most: number
}

/**
 * The leases on taken entries. The time for which an entry has been pending without a sign of life is its idle time,
 * kept by Redis; a lease is renewed by restarting it and has run out when it is longer than the lease.
 */
export class ControlLeases {
  readonly #redis: RedisClient
  readonly #group: string
  readonly #consumer: string
  /** Per slot, by the key of its first stream, what is known of its server's clock. */
  readonly #clocks = new Map<string, Clock>()

  constructor(redis: RedisClient, group: string, consumer: string) {
    this.#redis = redis
    this.#group = group
    this.#consumer = consumer
  }

  /** Resolves when Redis answers. */
  async reach(): Promise<void> {
    await this.#redis.call('PING')
  }

  /**
   * Renews the leases on exactly these entries, as far as this consumer still owns them; answers those that it does not
   * own any more.
   */
  async renew(key: string, ids: readonly string[]): Promise<readonly string[]> {
    const lost: string[] = []
    for (let from = 0; from < ids.length; from += MOST_IDS) {
      const part = ids.slice(from, from + MOST_IDS)
      const args = [this.#group, this.#consumer, MOST_PENDING, ...part]
      const renewed = new Set(await this.#ifGroup(this.#redis.script<string[]>('renew', [key], args), []))
      lost.push(...part.filter((id) => !renewed.has(id)))
    }
    return lost
  }

  /** Renews the leases on entries of whatever streams; answers those that this consumer does not own any more. */
  async renewAll(entries: readonly TakenEntry[]): Promise<ReadonlySet<TakenEntry>> {
    const streams = [...new Set(entries.map(({ stream }) => stream))]
    const lost = streams.map(async (stream) => {
      const own = entries.filter((entry) => entry.stream === stream)
      const ids = new Set(
        await this.renew(
          stream.key,
          own.map(({ id }) => id),
        ),
      )
      return own.filter(({ id }) => ids.has(id))
    })
    return new Set((await Promise.all(lost)).flat())
  }

  /**
   * Takes over at most `count` entries whose lease ran out at least `idleMs` after its last renewal; those of one slot
   * (on one Redis: all) in one call.
   *
   * @param cursors - Per stream's key, where its last walk ended; moved on to where this one did.
   * @param withinMs - Nothing is taken if the server carries this out later than so many ms from now, which it is told from
   * the second call on, since the first one tells what its clock says. Default: no limit.
   * @returns What was taken, and why that is not all, if so: it is this worker's all the same. Besides, how much later than
   * it was asked for a server has carried it out, in ms, as far as that is certain: it was away for so long, or its clock was
   * put forward.
   */
  async reclaim(
    streams: readonly ControlStream[],
    idleMs: number,
    count: number,
    cursors: Map<string, string>,
    withinMs?: number,
  ): Promise<{ entries: readonly TakenEntry[]; fault: Error | undefined; heldUpMs: number }> {
    const entries: TakenEntry[] = []
    let fault: Error | undefined
    let heldUpMs = 0
    // One slot after the other, because they share the count: taking over more would count deliveries that were none.
    for (const part of slotGroups(this.#redis.isCluster, streams, ({ key }) => key)) {
      const left = count - entries.length
      if (left <= 0) break
      const slot = (part[0] as ControlStream).key
      const clock = this.#clocks.get(slot)
      const isLimited = clock !== undefined && withinMs !== undefined
      const askedAt = performance.now()
      const until = isLimited ? Math.ceil(askedAt + clock.least + withinMs) : ''
      const limits = [this.#group, this.#consumer, idleMs, left, MOST_RECLAIMED, until]
      const keys = part.map(({ key }) => key)
      const walk = this.#redis.script<[ReclaimReply[], string, number]>('reclaim', keys, [
        ...limits,
        ...keys.map((key) => cursors.get(key) ?? '0-0'),
      ])
      const reply = await walk.catch((error: Error) => error)
      if (reply instanceof Error) return { entries, fault: reply, heldUpMs }
      const [walked, error, now] = reply
      if (clock !== undefined) heldUpMs = Math.max(heldUpMs, now - askedAt - clock.most)
      this.#clocks.set(slot, narrowed(clock, now, askedAt))
      if (error !== '' && !isGroupGone(new Error(error))) fault = new Error(error)
      walked.forEach(([cursor, taken], index) => {
        const stream = part[index] as ControlStream
        cursors.set(stream.key, cursor)
        for (const [id, fields, deliveries] of taken) {
          entries.push({ stream, id, raw: [id, fields], deliveries, askedAt })
        }
      })
    }
    return { entries, fault, heldUpMs }
  }

  /** Lets go of entries (default: all that this consumer has), for any worker to take over at once. */
  async surrender(key: string, ids: readonly string[] = []): Promise<number> {
    const args = [this.#group, this.#consumer, MOST_PENDING, ...ids]
    return this.#ifGroup(this.#redis.script<number>('surrender', [key], args), 0)
  }

  /** Removes consumers that own nothing and were silent for `idleMs`, and this one too if `own`. */
  async removeConsumers(key: string, idleMs: number, own = false): Promise<number> {
    const args = [this.#group, idleMs, own ? this.#consumer : '']
    return this.#ifGroup(this.#redis.script<number>('removeConsumers', [key], args), 0)
  }

  /** Sees to it that lanes of versions do not outlive their use: an empty one that no worker tends expires in a day. */
  async tend(streams: readonly ControlStream[]): Promise<void> {
    const lanes = streams.filter(({ version }) => version !== undefined)
    await Promise.all(lanes.map(({ key }) => this.#redis.script('tend', [key], [EMPTY_LANE_MS])))
  }

  /** Where the group is gone, by a flush for instance, nobody owns anything; whoever reads next makes it again. */
  async #ifGroup<T>(call: Promise<T>, otherwise: T): Promise<T> {
    try {
      return await call
    } catch (error) {
      if (isGroupGone(error)) return otherwise
      throw error
    }
  }
}

/**
 * A clock is ahead by at least what an answer shows when it comes, and by at most what it shows since it was asked for; one
 * that is read late, by a busy event loop, shows less than others did. Beyond that it was put back or forward. It tells whole
 * milliseconds, so that it may be nearly one more.
 */
function narrowed(clock: Clock | undefined, now: number, askedAt: number): Clock {
  const seen = { least: now - performance.now(), most: now + 1 - askedAt }
  if (clock === undefined || clock.least > seen.most || clock.most < seen.least) return seen
  return { least: Math.max(clock.least, seen.least), most: Math.min(clock.most, seen.most) }
}

/** True if a stream or its consumer group does not exist any more. */
export function isGroupGone(error: unknown): boolean {
  return (
    error instanceof Error &&
    /NOGROUP|no such key|the stream key no longer exists|requires the key to exist/i.test(error.message)
  )
}
