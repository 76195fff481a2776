import { Redis } from 'ioredis'
import type { Usage } from './report.ts'

/** By what usage is added up. */
export type Scope = 'session' | 'user' | 'agent' | 'model' | 'day'

/** All usage of one session, user, … */
export interface UsageTotal {
  /** Reports that were added. */
  readonly reports: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cost: number
}

/** Usage, and whose it is. */
export interface UsageRecord extends Usage {
  readonly scopes: readonly (readonly [Scope, string])[]
}

/** Where usage is kept. */
export interface UsageStore {
  add(record: UsageRecord): Promise<void>
  /** Zeros where nothing is known. */
  read(scope: Scope, id: string): Promise<UsageTotal>
  close(): Promise<void>
}

const NOTHING: UsageTotal = { reports: 0, inputTokens: 0, outputTokens: 0, cost: 0 }
/** Costs are added up as whole millionths. */
const MICRO = 1_000_000

/** In this process, the newest `limit` of each. */
export class MemoryUsage implements UsageStore {
  readonly #totals = new Map<string, UsageTotal>()
  readonly #limit: number

  constructor(limit = 10_000) {
    this.#limit = limit
  }

  async add({ scopes, inputTokens, outputTokens, cost }: UsageRecord): Promise<void> {
    for (const [scope, id] of scopes) {
      const key = `${scope}:${id}`
      const old = this.#totals.get(key) ?? NOTHING
      this.#totals.delete(key) // so that what is used stays
      this.#totals.set(key, {
        reports: old.reports + 1,
        inputTokens: old.inputTokens + inputTokens,
        outputTokens: old.outputTokens + outputTokens,
        cost: old.cost + cost,
      })
      const [oldest] = this.#totals.keys()
      if (this.#totals.size > this.#limit && oldest !== undefined) this.#totals.delete(oldest)
    }
  }

  async read(scope: Scope, id: string): Promise<UsageTotal> {
    return this.#totals.get(`${scope}:${id}`) ?? NOTHING
  }

  async close(): Promise<void> {
    // Nothing is open, and what was added up can still be read.
  }
}

/** In Redis, for all workers together: a hash for each, which goes `ttlMs` after its last report. */
export class RedisUsage implements UsageStore {
  readonly #redis: Redis
  readonly #prefix: string
  readonly #ttlMs: number

  constructor(options: { url: string; keyPrefix: string; ttlMs: number; onError: (error: Error) => void }) {
    this.#redis = new Redis(options.url, { lazyConnect: true, maxRetriesPerRequest: 3, enableAutoPipelining: true })
    this.#redis.on('error', options.onError)
    this.#prefix = options.keyPrefix
    this.#ttlMs = options.ttlMs
  }

  async add({ scopes, inputTokens, outputTokens, cost }: UsageRecord): Promise<void> {
    await Promise.all(
      scopes.map(async ([scope, id]) => {
        const key = this.#key(scope, id)
        const answers = await this.#redis
          .multi()
          .hincrby(key, 'reports', 1)
          .hincrby(key, 'input_tokens', Math.round(inputTokens))
          .hincrby(key, 'output_tokens', Math.round(outputTokens))
          .hincrby(key, 'cost_micros', Math.round(cost * MICRO))
          .pexpire(key, this.#ttlMs)
          .exec()
        const failure = answers?.find(([error]) => error !== null)?.[0]
        if (failure !== undefined && failure !== null) throw failure
      }),
    )
  }

  async read(scope: Scope, id: string): Promise<UsageTotal> {
    const fields = await this.#redis.hgetall(this.#key(scope, id))
    const at = (name: string) => Number(fields[name] ?? 0)
    const tokens = { inputTokens: at('input_tokens'), outputTokens: at('output_tokens') }
    return { reports: at('reports'), ...tokens, cost: at('cost_micros') / MICRO }
  }

  async close(): Promise<void> {
    try {
      if (this.#redis.status !== 'wait') await this.#redis.quit()
    } finally {
      // A goodbye that came to nothing, because Redis is away, would leave the client trying to reach it.
      this.#redis.disconnect()
    }
  }

  #key(scope: Scope, id: string): string {
    return `${this.#prefix}:${scope}:${id}`
  }
}
