import { errorMessage, GatewayError } from '../errors.ts'
import type { RedisClient } from '../redis/client.ts'
import { Batcher } from '../util/batcher.ts'

/** How long replicas may take to confirm a write, in ms; well within the silence after which a connection is given up. */
const CONFIRM_MS = 1_000
const MOST_AT_ONCE = 1_000

/** Who waits until what it has written over this connection is on so many replicas. */
interface Wish {
  readonly replicas: number
}

/**
 * Waits for replicas to confirm what was written over one connection. The server holds up everything else on that
 * connection meanwhile, so it should be one for such writes only; one wait serves all who wish for it at a time.
 */
export class Replicas {
  readonly #redis: RedisClient
  readonly #waits: Batcher<Wish, number>

  constructor(redis: RedisClient) {
    this.#redis = redis
    this.#waits = new Batcher({
      maxItems: MOST_AT_ONCE,
      run: async (wishes) => {
        const most = wishes.reduce((highest, { replicas }) => Math.max(highest, replicas), 0)
        const confirmed = await redis.call<number>('WAIT', most, CONFIRM_MS)
        return wishes.map(() => confirmed)
      },
    })
  }

  /**
   * Answers on how many replicas everything written before certainly is; `replicas` or more if all is well. A connection
   * that was lost since the write (`losses` was read before it) knows nothing of it: that counts as none.
   *
   * @throws GatewayError `GW_REDIS_FAILED` when the server could not be asked; what was written stays written.
   */
  async confirm(what: string, replicas: number, losses: number): Promise<number> {
    try {
      const confirmed = await this.#waits.add({ replicas })
      return this.#redis.losses === losses ? confirmed : 0
    } catch (cause) {
      if (cause instanceof GatewayError && cause.code === 'GW_CLOSED') throw cause
      const operation = `the wait for replicas to confirm ${what}`
      throw new GatewayError('GW_REDIS_FAILED', { operation, reason: errorMessage(cause) }, { cause })
    }
  }

  /** How often the connection was lost so far; to be read before the write. */
  get losses(): number {
    return this.#redis.losses
  }
}
