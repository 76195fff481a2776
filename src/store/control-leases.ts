import type { RedisClient } from '../redis/client.ts'
import type { RawEntry } from '../redis/streams.ts'
import type { ControlStream, TakenEntry } from './control-streams.ts'

/** More pending entries than one consumer can have: at most 5,000 slots, as many ends on their way, and those that wait. */
const MOST_PENDING = 20_000
/** Ids in one call; Lua's stack ends at some 8,000 values. */
const MOST_IDS = 2_000

/**
 * The leases on taken entries. The time for which an entry has been pending without a sign of life is its idle time,
 * kept by Redis; a lease is renewed by restarting it and has run out when it is longer than the lease.
 */
export class ControlLeases {
  readonly #redis: RedisClient
  readonly #group: string
  readonly #consumer: string

  constructor(redis: RedisClient, group: string, consumer: string) {
    this.#redis = redis
    this.#group = group
    this.#consumer = consumer
  }

  /** Renews the leases on exactly these entries, as far as this consumer still owns them. */
  async renew(key: string, ids: readonly string[]): Promise<number> {
    let renewed = 0
    for (let from = 0; from < ids.length; from += MOST_IDS) {
      const args = [this.#group, this.#consumer, MOST_PENDING, ...ids.slice(from, from + MOST_IDS)]
      renewed += await this.#redis.script<number>('renew', [key], args)
    }
    return renewed
  }

  /**
   * Takes over at most `count` entries of a stream whose lease ran out at least `idleMs` after its last renewal.
   *
   * @param cursor - Where the last walk ended; `0-0` for a new one.
   */
  async reclaim(
    stream: ControlStream,
    idleMs: number,
    cursor: string,
    count: number,
  ): Promise<{ cursor: string; entries: TakenEntry[] }> {
    const args = [this.#group, this.#consumer, idleMs, cursor, count]
    const reply = await this.#redis.script<[string, [...RawEntry, number][]]>('reclaim', [stream.key], args)
    const entries = reply[1].map(
      ([id, fields, deliveries]): TakenEntry => ({ stream, id, raw: [id, fields], deliveries }),
    )
    return { cursor: reply[0], entries }
  }

  /** Lets go of entries (default: all that this consumer has), for any worker to take over at once. */
  async surrender(key: string, ids: readonly string[] = []): Promise<number> {
    return this.#redis.script<number>('surrender', [key], [this.#group, this.#consumer, MOST_PENDING, ...ids])
  }

  /** Removes consumers that own nothing and were silent for `idleMs`, and this one too if `own`. */
  async removeConsumers(key: string, idleMs: number, own = false): Promise<number> {
    return this.#redis.script<number>('removeConsumers', [key], [this.#group, idleMs, own ? this.#consumer : ''])
  }
}
