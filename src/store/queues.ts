import type { RedisClient } from '../redis/client.ts'
import { type Keys, PRIORITIES, type Priority } from '../redis/keys.ts'
import { DEFAULT_GROUP } from './control-streams.ts'

/** One lane of a capability. */
export interface LaneStats {
  /** Tasks in it, waiting and running. */
  readonly length: number
  /** Those of them that workers have taken. */
  readonly pending: number
  /** How long the oldest task that nobody has taken has been waiting, in ms by Redis' clock; null if none waits. */
  readonly oldestAgeMs: number | null
}

/** How full the queue of a capability is. A task that waits for its time (`delayMs`, a retry) is not on it yet. */
export interface QueueStats {
  readonly capability: string
  /** Tasks that no worker has taken. */
  readonly waiting: number
  /** Tasks that workers have taken. */
  readonly running: number
  readonly lanes: Readonly<Record<Priority, LaneStats>>
  /** Dead letters of the capability. */
  readonly dead: number
}

export interface QueueStatsOptions {
  /** The workers' `consumerGroup`. Default `agent_engines`. */
  readonly consumerGroup?: string | undefined
}

/** Looks at the control streams from outside, at a cost that does not grow with their length. */
export class Queues {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  async read(capability: string, { consumerGroup = DEFAULT_GROUP }: QueueStatsOptions = {}): Promise<QueueStats> {
    const [dead, ...lanes] = await Promise.all([
      this.#redis.call<number>('XLEN', this.#keys.dead(capability)),
      ...PRIORITIES.map((priority) => this.#lane(this.#keys.control(capability, priority), consumerGroup)),
    ])
    const [high, normal, low] = lanes as [LaneStats, LaneStats, LaneStats]
    const sum = (of: (lane: LaneStats) => number) => of(high) + of(normal) + of(low)
    return {
      capability,
      // An entry that was deleted while a worker had it is pending and yet not there.
      waiting: sum(({ length, pending }) => Math.max(0, length - pending)),
      running: sum(({ pending }) => pending),
      lanes: { high, normal, low },
      dead,
    }
  }

  async #lane(key: string, group: string): Promise<LaneStats> {
    const [length, pending, age] = await this.#redis.script<[number, number, number]>('laneStats', [key], [group])
    return { length, pending, oldestAgeMs: age < 0 ? null : age }
  }
}
