import type { Plugins } from '../../agent/plugin-registry.ts'
import { errorMessage, GatewayError } from '../../errors.ts'
import { type BuildResources, buildPlugin, instantiate, ownFiles, type PluginBuild, refusal } from './load-plugin.ts'
import { signatureOf } from './plugin-files.ts'
import { notLoaded, type PluginSource } from './plugin-source.ts'

/** Data that changes so often in a row, each time so soon after the load, is the plugin's own doing … */
const RESTLESS_AFTER = 5
const SOON_MS = 2_000
/** … and then loaded no more often than this. */
const CALM_MS = 60_000

/** What a look at a plugin's files came to. */
export type LookOutcome =
  | { readonly status: 'loaded' | 'reloaded'; readonly pluginId: string; readonly version: string }
  | { readonly status: 'unchanged' | 'removed'; readonly pluginId: string | undefined }
  /** The one from before, if there was one, is still in use. */
  | { readonly status: 'failed'; readonly pluginId: string | undefined; readonly error: GatewayError }

/** What all plugins of a loader share. */
export interface PlacedResources extends BuildResources {
  readonly plugins: Plugins
  /** The plugin at a place, or null if there is none any more. @throws GatewayError `GW_PLUGIN_NOT_LOADED` */
  readonly sourceAt: (place: string) => Promise<PluginSource | null>
  /** The place where a plugin of this id was loaded from, if it was. */
  readonly ownerOf: (pluginId: string) => PlacedPlugin | undefined
}

/**
 * The plugin of one place on disk, and what of it is in use.
 *
 * States: `empty` → `loaded` by a load that succeeds; `loaded` → `loaded` by one with other content; from both of them a
 * load that fails changes nothing but `error`; → `empty` when the files are gone.
 */
export class PlacedPlugin {
  readonly place: string
  readonly #shared: PlacedResources
  #pluginId: string | undefined
  #hash = ''
  #codeHash = ''
  #loadedAt = 0
  /** How often in a row only data changed, and soon after a load. */
  #restless = 0
  #signature: string | undefined
  #isUnbuilt = false
  #files: readonly string[] = []
  #error: GatewayError | undefined

  constructor(place: string, shared: PlacedResources) {
    this.place = place
    this.#shared = shared
  }

  /** Id of the plugin that is in use; undefined if none is. */
  get pluginId(): string | undefined {
    return this.#pluginId
  }

  /** Everything whose change concerns the plugin, as far as the last build knows. */
  get files(): readonly string[] {
    return this.#files
  }

  /** Why the files as they are now are not in use. */
  get error(): GatewayError | undefined {
    return this.#error
  }

  /** True if the files could not be bundled: what they lack, or what is wrong, may lie where nobody looks. */
  get isUnbuilt(): boolean {
    return this.#isUnbuilt
  }

  /** True if the files look as they did when they were last loaded; with whatever success, if all of them are known. */
  async isCurrent(): Promise<boolean> {
    return !this.#isUnbuilt && this.#signature !== undefined && (await this.signature()) === this.#signature
  }

  /** What the files look like now. */
  async signature(): Promise<string> {
    return signatureOf(await this.#allFiles())
  }

  /**
   * Loads what lies there now, and puts it in the place of what was there before.
   *
   * @param isForced - Also if its content is the same.
   */
  async load(isForced: boolean): Promise<LookOutcome> {
    const files = await this.#allFiles()
    const before = await signatureOf(files)
    const outcome = await this.#load(isForced)
    this.#error = outcome.status === 'failed' ? outcome.error : undefined
    const after = await this.signature()
    // What was written meanwhile is looked at again; so this comes last.
    this.#signature = (await signatureOf(files)) === before ? after : undefined
    return outcome
  }

  async #load(isForced: boolean): Promise<LookOutcome> {
    try {
      const source = await this.#shared.sourceAt(this.place)
      return source === null ? await this.#remove() : await this.#take(source, isForced)
    } catch (cause) {
      return this.fail(cause)
    }
  }

  /** Notes why the files cannot be used, or not even be looked at. */
  fail(cause: unknown): LookOutcome {
    const isOurs = cause instanceof GatewayError && cause.code === 'GW_PLUGIN_NOT_LOADED'
    const error = isOurs ? cause : notLoaded(this.place, errorMessage(cause), cause)
    this.#error = error
    this.#signature = undefined
    return { status: 'failed', pluginId: this.#pluginId, error }
  }

  async #allFiles(): Promise<string[]> {
    const own = await ownFiles(await this.#sourceOrPlace(), this.#shared)
    return [...new Set([...own, ...this.#files])].sort()
  }

  /** Where there is no source, or something is wrong with it, the place itself is what to look at. */
  async #sourceOrPlace(): Promise<Pick<PluginSource, 'folder' | 'entry'>> {
    const { place } = this
    try {
      return (await this.#shared.sourceAt(place)) ?? { folder: undefined, entry: place }
    } catch {
      // What is wrong is told when it is loaded; here a folder is only its files.
      return { folder: place, entry: place }
    }
  }

  async #take(source: PluginSource, isForced: boolean): Promise<LookOutcome> {
    const { hosts, plugins, ownerOf } = this.#shared
    this.#isUnbuilt = true
    const build = await buildPlugin(source, this.#shared)
    this.#isUnbuilt = false
    this.#files = build.files
    const previous = this.#pluginId
    if (!isForced && previous !== undefined && build.hash === this.#hash)
      return { status: 'unchanged', pluginId: previous }
    if (!isForced) this.#requireRest(build)
    const plugin = instantiate(build, hosts)
    const id = String(plugin.manifest?.pluginId)
    const other = ownerOf(id)
    if (other !== undefined && other !== this) {
      throw notLoaded(this.place, `its id '${id}' is that of the plugin in ${other.place}`)
    }
    const origin = { build: build.hash, source: this.place }
    // One that comes under another id takes the place of the former one.
    const change = await (previous === undefined
      ? plugins.add(plugin, origin)
      : plugins.replace(previous, plugin, origin))
    if (change.status === 'refused') throw refusal(build, change.error)
    if (change.status !== 'added' && change.status !== 'replaced') throw notLoaded(this.place, change.status)
    return this.#note(build, change.pluginId, change.version, previous)
  }

  /** A plugin that writes into its own folder would be loaded for ever. */
  #requireRest({ codeHash }: PluginBuild): void {
    const isData = this.#pluginId !== undefined && codeHash === this.#codeHash
    const soonMs = this.#restless < RESTLESS_AFTER ? SOON_MS : CALM_MS
    const isSoon = performance.now() - this.#loadedAt < soonMs
    this.#restless = isData && isSoon ? this.#restless + 1 : 0
    if (this.#restless < RESTLESS_AFTER) return
    const remedy = 'if it writes them itself, they belong elsewhere, or must end in .log or .tmp'
    throw notLoaded(this.place, `files beside its code change again and again, soon after it was loaded: ${remedy}`)
  }

  #note(build: PluginBuild, pluginId: string, version: string, previous: string | undefined): LookOutcome {
    this.#pluginId = pluginId
    this.#hash = build.hash
    this.#codeHash = build.codeHash
    this.#loadedAt = performance.now()
    return { status: previous === undefined ? 'loaded' : 'reloaded', pluginId, version }
  }

  async #remove(): Promise<LookOutcome> {
    const pluginId = this.#pluginId
    if (pluginId !== undefined) await this.#takeOut(pluginId)
    this.#pluginId = undefined
    this.#hash = ''
    this.#files = []
    return { status: 'removed', pluginId }
  }

  async #takeOut(pluginId: string): Promise<void> {
    const change = await this.#shared.plugins.remove(pluginId)
    if (change.status === 'refused') throw notLoaded(this.place, `it cannot be taken out: ${change.error.message}`)
  }
}
