import type { GatewayError } from '../errors.ts'
import type { HookName, HookStats } from './hooks.ts'
import type { PluginDefinition } from './plugin.ts'

/** Where a plugin comes from, as far as whoever adds it wants that to be seen. */
export interface PluginOrigin {
  /** Tells two builds of one version apart, such as a hash of the source; shown as `<version>+<build>`. */
  readonly build?: string
  /** Such as the path of its folder. */
  readonly source?: string
}

/** What became of a change; a refused one has changed nothing. */
export type PluginChange =
  | { readonly status: 'added'; readonly pluginId: string; readonly version: string }
  | { readonly status: 'replaced'; readonly pluginId: string; readonly version: string; readonly previous: string }
  | { readonly status: 'removed'; readonly pluginId: string; readonly previous: string }
  /** There is none of that id. */
  | { readonly status: 'unknown'; readonly pluginId: string }
  | { readonly status: 'refused'; readonly pluginId: string; readonly error: GatewayError }

/** A plugin that is in use. */
export interface PluginInfo {
  readonly pluginId: string
  /** With its build, if it has one: `1.0.0+3f2a`. */
  readonly version: string
  readonly name: string
  readonly description: string
  readonly priority: number
  readonly source: string | undefined
  /** Unix ms. */
  readonly loadedAt: number
  /** Names of its tools, as far as others have not replaced them. */
  readonly tools: readonly string[]
  readonly agents: readonly string[]
  readonly hooks: readonly HookName[]
}

/** How the hooks of a plugin have fared since it was loaded. */
export interface PluginStats {
  readonly pluginId: string
  readonly version: string
  readonly hooks: Readonly<Partial<Record<HookName, HookStats>>>
}

/**
 * The plugins of a worker. Changes are made one after the other, in the order in which they were asked for; each takes
 * effect at once for tasks that start from then on. Running tasks keep what they started with.
 */
export interface Plugins {
  /** Takes one more plugin, once it has started: what `definePlugin` returns or takes, or an instance of a class. */
  add(plugin: PluginDefinition, origin?: PluginOrigin): Promise<PluginChange>
  /** Puts a plugin in the place of the one with that id, or adds it if there is none. */
  replace(pluginId: string, plugin: PluginDefinition, origin?: PluginOrigin): Promise<PluginChange>
  remove(pluginId: string): Promise<PluginChange>
  /** By priority, the highest first. */
  list(): PluginInfo[]
  stats(): PluginStats[]
}

/** Called when the worker starts, to add plugins to it; one that is refused then keeps the worker from starting. */
export type PluginConfigurator = (plugins: Plugins) => void | Promise<void>
