import { randomUUID } from 'node:crypto'
import { GatewayError } from '../errors.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { InboxWriter } from '../store/inbox.ts'
import { PluginBoard, type PluginReload, type WorkerPlugin } from '../store/plugin-board.ts'
import type { Presence } from '../store/presence.ts'
import { sleep } from '../util/sleep.ts'
import { checkTimer } from './time-limit.ts'

const DEFAULT_TIMEOUT_MS = 30_000
const LOOK_FIRST_MS = 20
const LOOK_MOST_MS = 500

/** A plugin of a live worker. */
export interface PluginListing extends WorkerPlugin {
  readonly workerId: string
}

/** Which plugins to load anew. */
export interface ReloadPluginsOptions {
  /** Only this one. Default all. */
  readonly pluginId?: string | undefined
  /** How long to wait for the workers' answers, in ms. Default 30,000. */
  readonly timeoutMs?: number | undefined
}

/** What a worker made of it. */
export interface WorkerReload {
  readonly workerId: string
  /** `failed`: one of its plugins could not be loaded anew, and goes on as it was. `silent`: no answer in time. */
  readonly status: 'done' | 'failed' | 'silent'
  readonly plugins: readonly PluginReload[]
}

/** The operator's side of the plugins: who has which, and an order to all to load them anew. */
export class PluginOffice {
  readonly #board: PluginBoard
  readonly #inboxes: InboxWriter
  readonly #presence: Presence

  constructor(redis: RedisClient, keys: Keys, presence: Presence) {
    this.#board = new PluginBoard(redis, keys)
    this.#inboxes = new InboxWriter(redis, keys)
    this.#presence = presence
  }

  /** The plugins of all live workers, by worker and plugin. */
  async list(): Promise<PluginListing[]> {
    const known = await this.#read()
    return [...known].flatMap(([workerId, plugins]) => plugins.map((plugin) => ({ workerId, ...plugin })))
  }

  async reload({ pluginId, timeoutMs = DEFAULT_TIMEOUT_MS }: ReloadPluginsOptions): Promise<WorkerReload[]> {
    checkTimer('timeoutMs', timeoutMs)
    if (pluginId !== undefined && (typeof pluginId !== 'string' || pluginId === '')) {
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'pluginId', value: pluginId, reason: 'must be a text' })
    }
    const known = [...(await this.#read())]
    const concerned = known.filter(
      ([, plugins]) => pluginId === undefined || plugins.some((p) => p.pluginId === pluginId),
    )
    const workerIds = concerned.map(([workerId]) => workerId)
    const requestId = randomUUID()
    await Promise.all(workerIds.map((workerId) => this.#inboxes.reloadPlugins(workerId, { requestId, pluginId })))
    const answers = await this.#collect(requestId, workerIds.length, timeoutMs)
    return workerIds.map((workerId) => toReload(workerId, answers.get(workerId)))
  }

  async #read(): Promise<Map<string, readonly WorkerPlugin[]>> {
    const workers = await this.#presence.list()
    return this.#board.read(workers.map(({ workerId }) => workerId))
  }

  /** Waits for so many answers, or until the time is up. */
  async #collect(requestId: string, count: number, timeoutMs: number) {
    const deadline = performance.now() + timeoutMs
    for (let waitMs = LOOK_FIRST_MS; ; waitMs = Math.min(waitMs * 1.5, LOOK_MOST_MS)) {
      const answers = count === 0 ? new Map<string, readonly PluginReload[]>() : await this.#board.answers(requestId)
      if (answers.size >= count || performance.now() >= deadline) return answers
      await sleep(waitMs)
    }
  }
}

function toReload(workerId: string, plugins: readonly PluginReload[] | undefined): WorkerReload {
  if (plugins === undefined) return { workerId, status: 'silent', plugins: [] }
  return { workerId, status: plugins.some(({ status }) => status === 'failed') ? 'failed' : 'done', plugins }
}
