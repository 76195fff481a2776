import { isObject, parseJson } from '../protocol/json.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'

/** A worker says again what plugins it has before the last word expires. */
export const BOARD_TTL_MS = 90_000
/** How long the answers to a reload are kept. */
const ANSWERS_TTL_MS = 300_000

/** A plugin of a worker, as others see it. */
export interface WorkerPlugin {
  /** Of a plugin that could never be loaded: the name of its file or folder. */
  readonly pluginId: string
  /** With the hash of its source, `1.0.0+3f2a…`, if it came from a folder; null if none of it is in use. */
  readonly version: string | null
  readonly state: 'active' | 'failed'
  /** Where it lies; null for one that was given in code. */
  readonly source: string | null
  /** Unix ms by the worker's clock; null if none of it is in use. */
  readonly loadedAt: number | null
  /** Why the source as it is now is not in use; the version that is shown stays then. */
  readonly error: string | null
}

/** What a worker made of the order to load a plugin anew. */
export interface PluginReload {
  readonly pluginId: string
  readonly status: 'reloaded' | 'unchanged' | 'removed' | 'failed' | 'not-reloadable'
  /** The one that is in use now; null if none is. */
  readonly version: string | null
  readonly error: string | null
}

/** A worker's answer to an order. */
export interface ReloadAnswer {
  readonly workerId: string
  readonly plugins: readonly PluginReload[]
}

/** Both ends of what workers say of their plugins: what they have, and what became of an order to reload. */
export class PluginBoard {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** Says what plugins a worker has, until {@link BOARD_TTL_MS} have passed. */
  async post(workerId: string, plugins: readonly WorkerPlugin[]): Promise<void> {
    await this.#redis.call('SET', this.#keys.workerPlugins(workerId), JSON.stringify(plugins), 'PX', BOARD_TTL_MS)
  }

  /** Takes back what a worker said. */
  async clear(workerId: string): Promise<void> {
    await this.#redis.call('DEL', this.#keys.workerPlugins(workerId))
  }

  /** What workers say of their plugins; one that has none, nor a way to get any, is left out. */
  async read(workerIds: readonly string[]): Promise<Map<string, readonly WorkerPlugin[]>> {
    const texts = await this.#redis.all<string | null>(
      workerIds.map((workerId) => ['GET', this.#keys.workerPlugins(workerId)] as const),
    )
    const known = new Map<string, readonly WorkerPlugin[]>()
    workerIds.forEach((workerId, index) => {
      const parsed = parseJson(texts[index] ?? '')
      if (parsed.ok && Array.isArray(parsed.value)) known.set(workerId, parsed.value)
    })
    return known
  }

  /** Says what became of an order. */
  async answer(requestId: string, answer: ReloadAnswer): Promise<void> {
    const key = this.#keys.pluginReload(requestId)
    await this.#redis.all([
      ['HSET', key, answer.workerId, JSON.stringify(answer.plugins)],
      ['PEXPIRE', key, ANSWERS_TTL_MS],
    ])
  }

  /** The answers to an order so far, by worker. */
  async answers(requestId: string): Promise<Map<string, readonly PluginReload[]>> {
    const flat = await this.#redis.call<string[]>('HGETALL', this.#keys.pluginReload(requestId))
    const answers = new Map<string, readonly PluginReload[]>()
    for (let i = 0; i + 1 < flat.length; i += 2) {
      const parsed = parseJson(flat[i + 1] as string)
      if (parsed.ok && Array.isArray(parsed.value))
        answers.set(flat[i] as string, parsed.value.filter(isObject) as never)
    }
    return answers
  }
}
