import type { Logger } from '../logger.ts'
import { brand } from '../util/brand.ts'
import type { AgentConfig } from './agent-config.ts'
import type { HookEvents, PluginHooks, WorkerFacts } from './hooks.ts'
import type { Interceptors } from './interceptor.ts'

/** Who a plugin is. */
export interface PluginManifest {
  /** 1 to 64 of letters, digits, `_ - .`; one plugin of an id at a time. */
  readonly pluginId: string
  /** 1 to 64 printable characters; semantic versions are a good habit. */
  readonly version: string
  /** For people. Default the id. */
  readonly name?: string | undefined
  readonly description?: string | undefined
  /** The highest is asked first and stands outermost; a whole number. Default 0. */
  readonly priority?: number | undefined
}

/** What a plugin may use while it is set up. */
export interface BuildContext extends WorkerFacts {
  readonly pluginId: string
  /** Knows the plugin's id; keep it for later. */
  readonly logger: Logger
}

/** What a plugin has besides hooks. */
export interface PluginParts {
  readonly manifest: PluginManifest
  /** Declares tools, prompts and the like. Called once, before `onWorkerStartup`; throwing refuses the plugin. */
  registerAgentConfigs?(context: BuildContext): readonly AgentConfig[] | Promise<readonly AgentConfig[]>
  readonly interceptors?: Interceptors | undefined
  /** How long a call of a hook is waited for, in ms. Default 5,000. */
  readonly hookTimeoutMs?: number | undefined
  /** How long `registerAgentConfigs` and `onWorkerStartup` may take, in ms. Default 30,000. */
  readonly startTimeoutMs?: number | undefined
}

/** A plugin as an object: see {@link definePlugin}. */
export type PluginDefinition = PluginParts & PluginHooks

/**
 * What people extend, or make by {@link definePlugin}, to add tools, prompts, hooks and interceptors to workers. An
 * instance that is given to several workers is started and unloaded once for each. The rules of the hooks stand in
 * hooks.ts.
 */
export abstract class Plugin implements PluginDefinition {
  abstract readonly manifest: PluginManifest
  declare readonly interceptors?: Interceptors | undefined
  declare readonly hookTimeoutMs?: number | undefined
  declare readonly startTimeoutMs?: number | undefined

  registerAgentConfigs?(context: BuildContext): readonly AgentConfig[] | Promise<readonly AgentConfig[]>

  /** Before the worker takes its first task, or before a plugin that came later is used. Open here what you need. */
  onWorkerStartup?(event: HookEvents['onWorkerStartup']): void | Promise<void>
  /** After the worker's last task. */
  onWorkerShutdown?(event: HookEvents['onWorkerShutdown']): void | Promise<void>
  onTaskStart?(event: HookEvents['onTaskStart']): void | Promise<void>
  onTaskComplete?(event: HookEvents['onTaskComplete']): void | Promise<void>
  onTaskError?(event: HookEvents['onTaskError']): void | Promise<void>
  onTaskCancel?(event: HookEvents['onTaskCancel']): void | Promise<void>
  onTaskLeave?(event: HookEvents['onTaskLeave']): void | Promise<void>
  onCallAgentStart?(event: HookEvents['onCallAgentStart']): void | Promise<void>
  onCallAgentComplete?(event: HookEvents['onCallAgentComplete']): void | Promise<void>
  onCallAgentError?(event: HookEvents['onCallAgentError']): void | Promise<void>
  onToolCall?(event: HookEvents['onToolCall']): void | Promise<void>
  onEvent?(event: HookEvents['onEvent']): void | Promise<void>
  /** The last call, whatever happened before: close here what you opened, if you did. */
  onUnload?(event: HookEvents['onUnload']): void | Promise<void>
}
brand(Plugin, 'Plugin')

/** Makes a plugin from an object; its methods see that plugin as `this`. */
export function definePlugin(definition: PluginDefinition & ThisType<PluginDefinition>): Plugin {
  return Object.assign(new DefinedPlugin(definition?.manifest), definition)
}

class DefinedPlugin extends Plugin {
  readonly manifest: PluginManifest

  constructor(manifest: PluginManifest) {
    super()
    this.manifest = manifest
  }
}
