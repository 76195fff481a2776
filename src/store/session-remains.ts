import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { sessionTasks } from './session-index.ts'

const PER_CALL = 500

/** What is known of a task's control entry: it was looked for in vain, or was there and will not come again. */
export type EntryTrace = 'unseen' | 'gone'

/** What a session leaves in its slot of Redis: records, journals, their index, and the data stream; and how it goes. */
export class SessionRemains {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** Ids of all its tasks. */
  messageIds(sessionId: string): Promise<string[]> {
    return sessionTasks(this.#redis, this.#keys, sessionId)
  }

  /**
   * Removes records and journals of tasks that have their end, and takes them off the session's index, which goes with
   * the last; answers those that something may still run. What was sent meanwhile stays listed.
   *
   * @param traceOf - What is known of a task's entry; undefined for nothing.
   */
  async forgetTasks(
    sessionId: string,
    messageIds: readonly string[],
    traceOf: (messageId: string) => EntryTrace | undefined,
  ): Promise<readonly string[]> {
    const left: string[] = []
    for (let from = 0; from === 0 || from < messageIds.length; from += PER_CALL) {
      const part = messageIds.slice(from, from + PER_CALL)
      const keys = [this.#keys.session(sessionId)]
      for (const messageId of part) {
        keys.push(this.#keys.task(sessionId, messageId), this.#keys.journal(sessionId, messageId))
      }
      const args = part.map((messageId) => traceOf(messageId) ?? '')
      const gone = await this.#redis.script<number[]>('forgetTasks', keys, args)
      left.push(...part.filter((_, index) => gone[index] === 0))
    }
    return left
  }

  /** Removes its events. */
  async forgetEvents(sessionId: string): Promise<void> {
    await this.#redis.call('UNLINK', this.#keys.data(sessionId))
  }
}
