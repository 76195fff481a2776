import type { UnloadEvent, WorkerFacts } from '../agent/hooks.ts'
import type { PluginDefinition } from '../agent/plugin.ts'
import type { PluginChange, PluginInfo, PluginOrigin, PluginStats, Plugins } from '../agent/plugin-registry.ts'
import type { Tools } from '../agent/tool.ts'
import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { untilAborted } from '../util/until-aborted.ts'
import { refusal } from './check-plugin.ts'
import { LoadedPlugin } from './loaded-plugin.ts'
import { PluginSnapshot, type ToolSet } from './snapshot.ts'

/** Where a task finds the plugins of its start. */
export interface PluginSource {
  /** Null as long as there are no plugins. */
  readonly current: PluginSnapshot | null
}

/**
 * The plugins of one worker. It holds one snapshot at a time, and changing anything means to build the next one and to
 * put it there in one assignment; what cannot be built leaves everything as it was.
 */
export class PluginRegistry implements Plugins, PluginSource {
  readonly #worker: WorkerFacts
  readonly #building: { workerTools: Tools; openTools: (tools: Tools) => ToolSet }
  readonly #logger: Logger
  #current: PluginSnapshot | null = null
  #changes: Promise<unknown> = Promise.resolve()
  /** All that are not unloaded yet. */
  readonly #loaded = new Set<LoadedPlugin>()
  #places = 0
  /** Aborts when no plugin is taken any more. */
  readonly #shutting = new AbortController()

  constructor(options: {
    worker: WorkerFacts
    /** The worker's own. */
    workerTools: Tools
    /** @throws GatewayError `GW_INVALID_ARGUMENT` that names the tool. */
    openTools: (tools: Tools) => ToolSet
    logger: Logger
  }) {
    const { workerTools, openTools } = options
    this.#worker = options.worker
    this.#building = { workerTools, openTools }
    this.#logger = options.logger
  }

  get current(): PluginSnapshot | null {
    return this.#current
  }

  add(plugin: PluginDefinition, origin: PluginOrigin = {}): Promise<PluginChange> {
    return this.#inTurn(() => this.#take(plugin, origin, undefined))
  }

  replace(pluginId: string, plugin: PluginDefinition, origin: PluginOrigin = {}): Promise<PluginChange> {
    return this.#inTurn(() => this.#take(plugin, origin, pluginId))
  }

  remove(pluginId: string): Promise<PluginChange> {
    return this.#inTurn(async () => this.#remove(pluginId))
  }

  list(): PluginInfo[] {
    const owners = [...(this.#current?.owners ?? [])]
    return this.#plugins.map(({ manifest, version, origin, loadedAt, configs, hookNames }) => {
      const { pluginId, name = pluginId, description = '', priority } = manifest
      return {
        ...{ pluginId, version, name, description, priority, source: origin.source, loadedAt },
        tools: owners.flatMap(([tool, owner]) => (owner === pluginId ? [tool] : [])),
        agents: [...new Set(configs.map(({ agentId }) => agentId))],
        hooks: hookNames,
      }
    })
  }

  stats(): PluginStats[] {
    return this.#plugins.map((plugin) => {
      const { pluginId, version, hookNames } = plugin
      const hooks = hookNames.flatMap((name) => {
        const stats = plugin.hook(name)?.stats
        return stats === undefined ? [] : [[name, stats] as const]
      })
      return { pluginId, version, hooks: Object.fromEntries(hooks) }
    })
  }

  /** Resolves when all changes that were asked for are made. */
  async settled(): Promise<void> {
    let last: unknown
    do {
      last = this.#changes
      await last
    } while (last !== this.#changes)
  }

  /** Takes no plugin any more, nor waits for the one that is being taken: that may hang in its start. */
  shut(): void {
    this.#shutting.abort()
  }

  /** Says goodbye to all plugins; resolves when the last of them is unloaded, which is after its last task. */
  close(): Promise<void> {
    this.shut()
    return this.#inTurn(async () => {
      const last = this.#current
      for (const plugin of [...(last?.plugins ?? [])].reverse())
        await plugin.hook('onWorkerShutdown')?.call(this.#worker)
      for (const plugin of last?.plugins ?? []) plugin.leave('worker-stopped')
      this.#current = null
      last?.leave()
      await Promise.all([...this.#loaded].map((plugin) => plugin.unloaded))
    })
  }

  get #plugins(): readonly LoadedPlugin[] {
    return this.#current?.plugins ?? []
  }

  #inTurn<Result>(change: () => Promise<Result>): Promise<Result> {
    const changed = this.#changes.then(change)
    // Whoever asked for the change is told of its failure; the next one is not concerned.
    this.#changes = changed.catch(() => undefined)
    return changed
  }

  /** @param replaces - The id of the plugin that it takes the place of, if that is there. */
  async #take(plugin: PluginDefinition, origin: PluginOrigin, replaces: string | undefined): Promise<PluginChange> {
    const old = this.#plugins.find(({ pluginId }) => pluginId === replaces)
    const rest = this.#plugins.filter((other) => other !== old)
    let next: LoadedPlugin
    try {
      this.#requireOpen()
      const place = old?.place ?? this.#places++
      next = new LoadedPlugin(plugin, { origin, place, logger: this.#logger })
      // Before it registers: one that never did is not unloaded either, and may be the very object that is there.
      requireFree(next.pluginId, rest)
    } catch (error) {
      return toRefused(plugin?.manifest?.pluginId ?? replaces ?? '?', error)
    }
    const { pluginId, version } = next
    try {
      await this.#unlessShut(next.register(this.#worker))
      this.#checkTools(next)
      const snapshot = new PluginSnapshot([...rest, next].sort(byPriority), this.#building)
      await this.#unlessShut(next.startUp(this.#worker))
      this.#loaded.add(next)
      this.#swap(snapshot, old, 'replaced')
    } catch (error) {
      next.leave('failed')
      await next.unload()
      return toRefused(pluginId, error)
    }
    if (old === undefined) this.#logger.info({ pluginId, version }, 'plugin added')
    else this.#logger.info({ pluginId, version, previous: old.version }, 'plugin replaced')
    if (old === undefined) return { status: 'added', pluginId, version }
    return { status: 'replaced', pluginId, version, previous: old.version }
  }

  async #unlessShut(work: Promise<void>): Promise<void> {
    await untilAborted(work, this.#shutting.signal)
    this.#requireOpen()
  }

  #requireOpen(): void {
    if (this.#shutting.signal.aborted) throw new GatewayError('GW_CLOSED', { what: 'worker' })
  }

  #remove(pluginId: string): PluginChange {
    const old = this.#plugins.find((plugin) => plugin.pluginId === pluginId)
    if (old === undefined) return { status: 'unknown', pluginId }
    const rest = this.#plugins.filter((other) => other !== old)
    try {
      this.#swap(rest.length === 0 ? null : new PluginSnapshot(rest, this.#building), old, 'removed')
    } catch (error) {
      // What the plugin had replaced, or kept away, comes to light again.
      return toRefused(pluginId, error)
    }
    this.#logger.info({ pluginId, previous: old.version }, 'plugin removed')
    return { status: 'removed', pluginId, previous: old.version }
  }

  #swap(next: PluginSnapshot | null, old: LoadedPlugin | undefined, reason: UnloadEvent['reason']): void {
    const last = this.#current
    next?.open()
    this.#current = next
    old?.leave(reason)
    if (old !== undefined) void old.unloaded.then(() => this.#loaded.delete(old))
    last?.leave()
  }

  /** Alone, so that a bad tool is told apart from one that does not go together with others. */
  #checkTools({ pluginId, configs }: LoadedPlugin): void {
    try {
      for (const { tools } of configs) if (tools !== undefined) this.#building.openTools(tools)
    } catch (error) {
      throw refusal(pluginId, errorMessage(error), error)
    }
  }
}

/** The highest first; of equal ones the first that came. */
function byPriority(a: LoadedPlugin, b: LoadedPlugin): number {
  return b.manifest.priority - a.manifest.priority || a.place - b.place
}

function requireFree(pluginId: string, others: readonly LoadedPlugin[]): void {
  if (others.some((other) => other.pluginId === pluginId)) throw refusal(pluginId, 'one of that id is there already')
}

function toRefused(pluginId: unknown, error: unknown): PluginChange {
  const id = String(pluginId)
  return {
    status: 'refused',
    pluginId: id,
    error: error instanceof GatewayError ? error : refusal(id, errorMessage(error), error),
  }
}
