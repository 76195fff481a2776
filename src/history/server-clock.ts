import type { RedisClient } from '../redis/client.ts'

/**
 * Redis' clock as it was when it was last asked, carried on by this process' own: so that what several workers say stands
 * in the order of one clock, without a call for each message.
 */
export class ServerClock {
  readonly #redis: RedisClient
  /** Unix ms at the origin of `performance.now()`. */
  #origin = performance.timeOrigin

  constructor(redis: RedisClient) {
    this.#redis = redis
  }

  /** Asks the server. */
  async read(): Promise<void> {
    const before = performance.now()
    const [seconds = 0, micros = 0] = (await this.#redis.call<string[]>('TIME')).map(Number)
    this.#origin = seconds * 1_000 + micros / 1_000 - (before + performance.now()) / 2
  }

  /** Unix ms. */
  now(): number {
    return Math.round(this.#origin + performance.now())
  }
}
