import path from 'node:path'
import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { HotPlugins } from '../plugins/loader/hot-plugins.ts'
import type { LookOutcome } from '../plugins/loader/placed-plugin.ts'
import { findNamed, importPackage } from '../plugins/loader/plugin-package.ts'
import type { PluginRegistry } from '../plugins/registry.ts'
import { Service } from '../service.ts'
import type { ReloadOrder } from '../store/inbox.ts'
import { BOARD_TTL_MS, type PluginBoard, type PluginReload, type WorkerPlugin } from '../store/plugin-board.ts'
import { addPlugins, requireTaken } from './add-plugins.ts'
import type { ResolvedWorkerOptions } from './options.ts'

const POST_PERIOD_MS = BOARD_TTL_MS / 3

type PluginOptions = Pick<ResolvedWorkerOptions, 'plugins' | 'pluginConfigurator' | 'pluginDir' | 'pluginPollMs'>

/**
 * Brings a worker its plugins, from code, packages and folders, keeps those from folders as they lie there, and tells
 * operators what it has.
 */
export class PluginSupply extends Service {
  readonly #registry: PluginRegistry
  readonly #options: PluginOptions
  readonly #board: PluginBoard
  readonly #workerId: string
  readonly #logger: Logger
  #hot: HotPlugins | undefined
  #timer: NodeJS.Timeout | undefined
  #posting: Promise<void> = Promise.resolve()
  #isPosted = false

  constructor(options: {
    registry: PluginRegistry
    options: PluginOptions
    board: PluginBoard
    workerId: string
    logger: Logger
  }) {
    super()
    this.#registry = options.registry
    this.#options = options.options
    this.#board = options.board
    this.#workerId = options.workerId
    this.#logger = options.logger
  }

  /** Carries out an order to load plugins anew, and answers it. */
  async reload({ requestId, pluginId }: ReloadOrder): Promise<void> {
    try {
      const plugins = await this.#reload(pluginId)
      await this.#board.answer(requestId, { workerId: this.#workerId, plugins })
    } catch (error) {
      this.#logger.warn({ requestId, pluginId, err: error }, 'an order to reload plugins was not answered')
    }
  }

  /** @throws GatewayError `GW_PLUGIN_REFUSED` or `GW_PLUGIN_NOT_LOADED` of the first plugin that cannot be used. */
  protected override async onStart(): Promise<void> {
    const { plugins, pluginConfigurator, pluginDir } = this.#options
    const places: string[] = []
    for (const plugin of plugins) {
      if (typeof plugin !== 'string') await addPlugins(this.#registry, { plugins: [plugin] })
      else places.push(...(await this.#addNamed(plugin)))
    }
    await addPlugins(this.#registry, { plugins: [], pluginConfigurator })
    if (pluginDir !== undefined || places.length > 0) await this.#startHot(pluginDir, places)
    this.#post()
    await this.#posting
    this.#timer = setInterval(() => this.#post(), POST_PERIOD_MS)
    this.#timer.unref()
  }

  protected override async onStop(): Promise<void> {
    clearInterval(this.#timer)
    const stopped = this.#hot?.stop()
    this.#registry.shut()
    await stopped
    await this.#posting
    if (!this.#isPosted) return
    try {
      await this.#board.clear(this.#workerId)
    } catch (error) {
      this.#logger.debug({ err: error }, 'the list of plugins was not removed; it expires')
    }
  }

  /** Adds a package; answers the place of what is watched in its stead. */
  async #addNamed(name: string): Promise<string[]> {
    const found = await findNamed(name, process.cwd())
    if (found.kind === 'place') return [found.place]
    const plugin = await importPackage(name, found.entry)
    requireTaken(await this.#registry.add(plugin, { source: name }))
    return []
  }

  async #startHot(pluginDir: string | undefined, paths: readonly string[]): Promise<void> {
    const folder = pluginDir === undefined ? undefined : path.resolve(pluginDir)
    const { pluginPollMs: pollMs } = this.#options
    const hot = new HotPlugins({
      ...{ plugins: this.#registry, folder, paths, pollMs, logger: this.#logger },
      onChange: () => {
        if (this.isRunning) this.#post()
      },
    })
    await hot.start()
    this.#hot = hot
  }

  async #reload(pluginId: string | undefined): Promise<PluginReload[]> {
    const outcomes = (await this.#hot?.reload(pluginId)) ?? []
    const versions = new Map(this.#registry.list().map((plugin) => [plugin.pluginId, plugin.version]))
    await this.#posting
    if (pluginId !== undefined && outcomes.length === 0 && versions.has(pluginId)) {
      const error = 'it came in code or as an installed package: start the worker anew'
      return [{ pluginId, status: 'not-reloadable', version: versions.get(pluginId) ?? null, error }]
    }
    return outcomes.map((outcome) => toReload(outcome, versions))
  }

  /** Says in Redis what plugins there are, now or as soon as the last word is out. */
  #post(): void {
    this.#posting = this.#posting.then(async () => {
      try {
        await this.#postIfNeeded()
      } catch (error) {
        this.#logger.debug({ reason: errorMessage(error) }, 'the list of plugins was not told; it will be')
      }
    })
  }

  /** A worker that has no plugins, and no way to get any, says nothing. */
  async #postIfNeeded(): Promise<void> {
    const plugins = this.#describe()
    if (plugins.length === 0 && this.#hot === undefined && !this.#isPosted) return
    this.#isPosted = true
    await this.#board.post(this.#workerId, plugins)
  }

  #describe(): WorkerPlugin[] {
    const faults = this.#hot?.faults ?? []
    const active = this.#registry.list().map(({ pluginId, version, source = null, loadedAt }): WorkerPlugin => {
      const fault = faults.find((candidate) => candidate.pluginId === pluginId)
      return { pluginId, version, state: 'active', source, loadedAt, error: fault?.error.message ?? null }
    })
    const broken = faults.flatMap(({ pluginId, place, error }): WorkerPlugin[] => {
      if (pluginId !== undefined) return []
      const nothing = { version: null, loadedAt: null } as const
      return [{ pluginId: path.parse(place).name, ...nothing, state: 'failed', source: place, error: error.message }]
    })
    return [...active, ...broken]
  }
}

function toReload(
  outcome: LookOutcome & { readonly place: string },
  versions: ReadonlyMap<string, string>,
): PluginReload {
  const pluginId = outcome.pluginId ?? path.parse(outcome.place).name
  const status = outcome.status === 'loaded' ? 'reloaded' : outcome.status
  const error = outcome.status === 'failed' ? outcome.error.message : null
  return { pluginId, status, version: versions.get(pluginId) ?? null, error }
}
