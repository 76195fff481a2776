import type { RedisClient } from '../redis/client.ts'

/** Longer than any consumer can have been silent: only the one that is named is removed. */
const NEVER_MS = Number.MAX_SAFE_INTEGER

/** What became of the wish to take an entry off: it is off now, it was gone before, or it stays with who was handed it. */
export type Withdrawal = 'withdrawn' | 'gone' | 'held'

const WITHDRAWALS = ['held', 'withdrawn', 'gone'] as const satisfies readonly Withdrawal[]

/** Puts control streams in order, for operators. Each method may be repeated, and says whether it changed something. */
export class ControlRepairs {
  readonly #redis: RedisClient
  readonly #group: string

  /** @param group - The workers' consumer group; '' to withdraw only what no group was handed. */
  constructor(redis: RedisClient, group: string) {
    this.#redis = redis
    this.#group = group
  }

  /** Acks and deletes an entry. */
  async settle(key: string, id: string): Promise<boolean> {
    await this.#redis.script('settle', [key], [this.#group, 1, id])
    return true
  }

  /**
   * Takes an entry off its stream that nobody was handed yet.
   *
   * @param isForOne - Also from who has it: of a lane whose one worker may never come back.
   */
  async withdraw(key: string, id: string, isForOne = false): Promise<Withdrawal> {
    const answer = await this.#redis.script<0 | 1 | 2>('withdraw', [key], [this.#group, id, isForOne ? 1 : 0])
    return WITHDRAWALS[answer]
  }

  /** Makes a delivered entry pending again, for any worker to take over. */
  async restore(key: string, id: string, consumer: string): Promise<boolean> {
    return (await this.#redis.script<number>('restoreEntry', [key], [this.#group, consumer, id])) === 1
  }

  /** Removes a consumer that owns nothing. */
  async removeConsumer(key: string, name: string): Promise<boolean> {
    return (await this.#redis.script<number>('removeConsumers', [key], [this.#group, NEVER_MS, name])) > 0
  }
}
