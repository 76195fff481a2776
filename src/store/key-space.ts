import type { TaskRef } from '../protocol/ids.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys, ParsedKey } from '../redis/keys.ts'
import { latestTasks } from './session-index.ts'

const PAGE = 500

/** A key of this library's, and what it is. */
export type FoundKey = ParsedKey & { readonly key: string }

/** Walks over all keys with a prefix, for operators. */
export class KeySpace {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** The keys, a page at a time; one may come twice. */
  async *walk(): AsyncGenerator<FoundKey[]> {
    for await (const page of this.#redis.scan(this.#keys.allPattern(), PAGE)) {
      const found = page.flatMap((key) => {
        const parsed = this.#keys.parse(key)
        return parsed === null ? [] : [{ key, ...parsed }]
      })
      if (found.length > 0) yield found
    }
  }

  /** Those of the keys that have no time to live. */
  async lasting<Found extends FoundKey>(found: readonly Found[]): Promise<Found[]> {
    const ttls = await this.#redis.all<number>(found.map(({ key }) => ['PTTL', key] as const))
    return found.filter((_, index) => ttls[index] === -1)
  }

  /** Ids of a session's tasks, `count` at a time, the suspended ones first. */
  messageIds(sessionId: string, from: number, count: number): Promise<string[]> {
    return latestTasks(this.#redis, this.#keys, { sessionId, from, count })
  }

  /** Gives a key a time to live if it has none; false if it has one, or is gone. */
  async expireUnset(key: string, ttlMs: number): Promise<boolean> {
    return (await this.#redis.script<number>('expireUnset', [key], [ttlMs])) === 1
  }

  /**
   * The same for a key of a task that has its end, unless it has another life by now.
   *
   * @param fence - The one it ended with.
   */
  async expireEnded({ sessionId, messageId }: TaskRef, fence: string, key: string, ttlMs: number): Promise<boolean> {
    const keys = [this.#keys.task(sessionId, messageId), key]
    return (await this.#redis.script<number>('expireEnded', keys, [fence, ttlMs])) === 1
  }

  /** The same for a session's events, unless a suspended task is in it. */
  async expireEvents(sessionId: string, ttlMs: number): Promise<boolean> {
    const keys = [this.#keys.data(sessionId), this.#keys.session(sessionId)]
    return (await this.#redis.script<number>('expireEvents', keys, [ttlMs, this.#keys.task(sessionId, '')])) === 1
  }

  /** The same for a session's index, unless a task without an end is in it; counts those anew. */
  async expireIndex(sessionId: string, ttlMs: number): Promise<boolean> {
    const args = [ttlMs, this.#keys.task(sessionId, '')]
    return (await this.#redis.script<number>('expireIndex', [this.#keys.session(sessionId)], args)) === 1
  }

  /** Removes the journal of a task that has no record. */
  async removeOrphan({ sessionId, messageId }: TaskRef, key: string): Promise<boolean> {
    return (await this.#redis.script<number>('removeOrphan', [this.#keys.task(sessionId, messageId), key], [])) === 1
  }

  exists(key: string): Promise<number> {
    return this.#redis.call<number>('EXISTS', key)
  }

  /** Entries of a stream. */
  length(key: string): Promise<number> {
    return this.#redis.call<number>('XLEN', key)
  }

  /** Unix ms by Redis' clock. */
  now(): Promise<number> {
    return this.#redis.now()
  }
}
