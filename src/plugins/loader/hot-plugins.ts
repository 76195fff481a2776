import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Plugins } from '../../agent/plugin-registry.ts'
import { errorMessage, type GatewayError } from '../../errors.ts'
import type { Logger } from '../../logger.ts'
import { Service } from '../../service.ts'
import type { Circle } from '../../util/leads-back.ts'
import { sleep } from '../../util/sleep.ts'
import { Compiler } from './compiler.ts'
import { FolderWatch } from './folder-watch.ts'
import { HostModules } from './host-modules.ts'
import { type LookOutcome, PlacedPlugin, type PlacedResources } from './placed-plugin.ts'
import { isPassedOver, ledBackTo, namesIn, notLoaded, type PluginSource, sourceAt } from './plugin-source.ts'

/** An editor writes in several steps, and a checkout many files: so long nothing may change before it is read. */
const QUIET_MS = 100
/** What is replaced is gone for a moment. */
const GONE_MS = 500
/** The others have waited long enough for one that does not come to rest. */
const MOST_UNREST_MS = 5_000

/** Why to look at a plugin: somebody says that it may have changed, that it has, or that it is to be loaded in any case. */
type Reason = 'poll' | 'change' | 'order'

/** Where to look for plugins, and what to do with them. */
export interface HotPluginsOptions {
  /** Takes the plugins that are found. */
  readonly plugins: Plugins
  /** Absolute path of the folder in which each folder and each file of code is a plugin. */
  readonly folder: string | undefined
  /** Absolute paths of further plugins. */
  readonly paths: readonly string[]
  /** Beside hearing of changes, look for them this often. */
  readonly pollMs: number
  readonly logger: Logger
  /** Told after each change of what is in use or at fault. */
  readonly onChange: () => void
}

/** A plugin of which one should know that something is wrong with it. */
export interface PluginFault {
  readonly place: string
  /** Undefined: none of it is in use. */
  readonly pluginId: string | undefined
  readonly error: GatewayError
}

/**
 * Keeps the plugins of a folder as they lie there: loads them at the start, loads anew what changes, takes out what is
 * removed. One after the other; a file that is still being written is waited for, but not for ever.
 */
export class HotPlugins extends Service {
  readonly #options: HotPluginsOptions
  readonly #hosts = new HostModules()
  readonly #compiler = new Compiler()
  readonly #placed = new Map<string, PlacedPlugin>()
  /** Places where something has changed, not looked at yet. */
  readonly #changed = new Set<string>()
  readonly #stopping = new AbortController()
  #watch: FolderWatch | undefined
  /** Links that were told of. */
  readonly #circles = new Set<string>()
  /** False while the first plugins are loaded: nobody is writing them then. */
  #isLive = false
  #queue: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined

  readonly #resources: PlacedResources

  constructor(options: HotPluginsOptions) {
    super()
    this.#options = options
    this.#resources = {
      ...{ plugins: options.plugins, hosts: this.#hosts, compiler: this.#compiler },
      ownerOf: (id) => [...this.#placed.values()].find(({ pluginId }) => pluginId === id),
      sourceAt: (place) => this.#sourceAt(place),
      onCircle: (circle) => this.#tellCircle(circle),
    }
  }

  /** What is wrong now. */
  get faults(): PluginFault[] {
    return [...this.#placed.values()].flatMap(({ place, pluginId, error }) =>
      error === undefined ? [] : [{ place, pluginId, error }],
    )
  }

  /**
   * Looks at all plugins, or the one of an id, and loads them anew, also those that seem the same. A plugin that is at
   * fault is found by its place, too.
   */
  async reload(pluginId?: string): Promise<(LookOutcome & { readonly place: string })[]> {
    // What is wrong with a folder that cannot be read, each look at its plugins tells.
    const places = await this.#places().catch(() => [...this.#placed.keys()])
    const wanted = places.filter((place) => {
      const placed = this.#placed.get(place)
      return pluginId === undefined || placed?.pluginId === pluginId || nameOf(place) === pluginId
    })
    return Promise.all(wanted.map(async (place) => ({ place, ...(await this.#enqueue(place, 'order')) })))
  }

  /** @throws GatewayError `GW_PLUGIN_NOT_LOADED` of the first plugin that cannot be used. */
  protected override async onStart(): Promise<void> {
    const { folder, paths, logger, pollMs } = this.#options
    try {
      // Before the first look, after which no change is to be missed.
      this.#watch = await FolderWatch.on([...(folder === undefined ? [] : [folder]), ...paths], {
        onChange: (file) => this.#hear(file),
        onError: (error) =>
          logger.warn({ reason: errorMessage(error), pollMs }, 'changes of plugins are heard of late'),
      })
      for (const place of await this.#places()) {
        const outcome = await this.#enqueue(place, 'poll')
        if (outcome.status === 'failed') throw outcome.error
      }
    } catch (error) {
      await this.#close()
      throw error
    }
    this.#isLive = true
    this.#schedule()
  }

  protected override async onStop(): Promise<void> {
    await this.#close()
  }

  async #close(): Promise<void> {
    this.#stopping.abort()
    clearTimeout(this.#timer)
    await this.#watch?.[Symbol.asyncDispose]()
    await this.#queue
    await this.#compiler.stop()
  }

  /** Where plugins lie, or lay until now. */
  async #places(): Promise<string[]> {
    const { folder, paths } = this.#options
    const names = folder === undefined ? [] : await namesIn(folder)
    const inFolder = names.map((name) => path.join(folder ?? '', name))
    const own = await Promise.all(inFolder.map(async (place) => ((await this.#isLedBack(place)) ? [] : [place])))
    return [...new Set([...own.flat().sort(), ...paths, ...this.#placed.keys()])]
  }

  /** True for a link in the folder that leads to what is there already; that is told once. */
  async #isLedBack(place: string): Promise<boolean> {
    if (path.dirname(place) !== this.#options.folder || this.#options.paths.includes(place)) return false
    const circle = await ledBackTo(place)
    if (circle !== undefined) this.#tellCircle(circle)
    return circle !== undefined
  }

  #tellCircle({ link, target }: Circle): void {
    if (this.#circles.has(link)) return
    this.#circles.add(link)
    this.#options.logger.warn({ link, target }, 'a link leads back into the folder of plugins and is passed over')
  }

  async #sourceAt(place: string): Promise<PluginSource | null> {
    return (await this.#isLedBack(place)) ? null : sourceAt(place)
  }

  #hear(file: string): void {
    for (const place of this.#placesOf(file)) {
      if (this.#changed.has(place)) continue
      this.#changed.add(place)
      void this.#enqueue(place, 'change')
    }
  }

  /** The plugins to which a file belongs: those that use it, or may have waited for it, or the one in whose place it lies. */
  #placesOf(file: string): string[] {
    const { folder, paths } = this.#options
    const placed = [...this.#placed.values()]
    const using = placed.filter(({ files, isUnbuilt }) => isUnbuilt || files.includes(file)).map(({ place }) => place)
    const [top] = folder === undefined ? [] : path.relative(folder, file).split(path.sep)
    const inFolder = folder !== undefined && top && !isPassedOver(top) ? [path.join(folder, top)] : []
    const among = paths.filter((place) => file === place || file.startsWith(place + path.sep))
    return [...new Set([...using, ...inFolder, ...among])]
  }

  #schedule(): void {
    this.#timer = setTimeout(() => void this.#poll(), this.#options.pollMs)
    this.#timer.unref()
  }

  async #poll(): Promise<void> {
    try {
      for (const place of await this.#places()) await this.#enqueue(place, 'poll')
    } catch (error) {
      const { folder, logger } = this.#options
      // Its plugins stay: a folder that is being swapped is gone for a moment.
      logger.warn({ pluginDir: folder, reason: errorMessage(error) }, 'the folder of plugins cannot be read')
    }
    if (!this.#stopping.signal.aborted) this.#schedule()
  }

  #enqueue(place: string, reason: Reason): Promise<LookOutcome> {
    const look = this.#queue.then(() => this.#look(place, reason))
    this.#queue = look.catch(() => undefined) // whoever asked is told; the next look only waits
    return look
  }

  async #look(place: string, reason: Reason): Promise<LookOutcome> {
    this.#changed.delete(place)
    if (!this.#placed.has(place) && (await this.#isLedBack(place))) return { status: 'unchanged', pluginId: undefined }
    const placed = this.#placed.get(place) ?? new PlacedPlugin(place, this.#resources)
    const said = placed.error?.message
    try {
      if (!(await this.#isToLoad(placed, reason))) return { status: 'unchanged', pluginId: placed.pluginId }
      return this.#note(placed, await placed.load(reason === 'order'), said)
    } catch (error) {
      return this.#note(placed, placed.fail(error), said)
    }
  }

  async #isToLoad(placed: PlacedPlugin, reason: Reason): Promise<boolean> {
    const { signal } = this.#stopping
    if (signal.aborted || (reason === 'poll' && (await placed.isCurrent()))) return false
    if (this.#isLive && !(await settled(placed, signal))) {
      const remedy = 'if it writes them itself, they belong elsewhere, or must end in .log or .tmp'
      throw notLoaded(placed.place, `its files change without a pause, so it is not read: ${remedy}`)
    }
    const isAway = this.#isAway(placed.place)
    if (isAway && reason === 'order') throw notLoaded(placed.place, 'the folder of plugins is not there')
    return !isAway
  }

  /** @param said - What was wrong before; it is not said twice. */
  #note(placed: PlacedPlugin, outcome: LookOutcome, said: string | undefined): LookOutcome {
    const { place } = placed
    if (outcome.status === 'removed') this.#placed.delete(place)
    else this.#placed.set(place, placed)
    this.#watch?.alsoWatch([...this.#placed.values()].flatMap(({ files }) => files))
    this.#tell(place, outcome, said)
    if (outcome.status === 'removed' || outcome.status === 'reloaded') this.#lookAtRefused(placed)
    return outcome
  }

  /** What was in the way of others, an id or the name of a tool, may be free now. */
  #lookAtRefused(changed: PlacedPlugin): void {
    for (const { place, error } of this.#placed.values()) {
      if (error !== undefined && place !== changed.place) void this.#enqueue(place, 'change')
    }
  }

  /** True if the whole folder is gone: it is being swapped, and its plugins stay. */
  #isAway(place: string): boolean {
    const { folder } = this.#options
    return folder !== undefined && place.startsWith(folder + path.sep) && !existsSync(folder)
  }

  #tell(place: string, outcome: LookOutcome, said: string | undefined): void {
    const { logger, onChange } = this.#options
    const { pluginId, status } = outcome
    if (status === 'unchanged' && said === undefined) return
    if (status === 'failed' && this.#stopping.signal.aborted) return
    if (status === 'failed' && outcome.error.message !== said && this.#isLive) {
      const after = pluginId === undefined ? 'it is not in use' : 'the one from before stays in use'
      logger.error(
        { pluginId, place, err: outcome.error },
        `a plugin was not loaded, ${after}: ${outcome.error.message}`,
      )
    }
    onChange()
  }
}

/** Waits until nothing has changed for a while; what is gone is given longer to come back. False if that does not come to pass. */
async function settled(placed: PlacedPlugin, signal: AbortSignal): Promise<boolean> {
  const until = performance.now() + MOST_UNREST_MS
  let before = await placed.signature()
  for (let quiet = 0; quiet < (/\?$/m.test(before) ? GONE_MS : QUIET_MS) && !signal.aborted; quiet += QUIET_MS) {
    await sleep(QUIET_MS, signal)
    const now = await placed.signature()
    if (now !== before) quiet = -QUIET_MS
    if (now !== before && performance.now() > until) return false
    before = now
  }
  return true
}

function nameOf(place: string): string {
  return path.basename(place, path.extname(place))
}
