import { HOOK_NAMES, type HookEvents, type HookName } from '../agent/hooks.ts'
import { composeFlushes, composeInterceptors, type Interceptors } from '../agent/interceptor.ts'
import type { ToolContext, ToolDescription, Tools } from '../agent/tool.ts'
import type { Logger } from '../logger.ts'
import type { Hook } from './hook.ts'
import type { LoadedPlugin } from './loaded-plugin.ts'
import { type MergedAgent, mergeConfigs } from './merge-configs.ts'

/** Tools that can be called by name. */
export interface ToolSet {
  /** True for a tool whose results are recorded. */
  isDurable(name: string): boolean
  call(name: string, args: unknown, context: ToolContext): Promise<unknown>
  describe(logger: Logger): ToolDescription[]
}

/**
 * The plugins of a worker as they are at one time: never changed, only replaced. A task takes the one of its start and
 * keeps it until it ends. While it is the current one, or a task has it, it holds its plugins.
 */
export class PluginSnapshot {
  /** In their order. */
  readonly plugins: readonly LoadedPlugin[]
  readonly tools: ToolSet
  /** The plugin of each tool; the worker's own have none. */
  readonly owners: ReadonlyMap<string, string>
  readonly agents: ReadonlyMap<string, MergedAgent>
  readonly interceptors: Interceptors
  /** Id and version of each plugin, as JSON. */
  readonly versions: string
  /** Of all plugins, in order. */
  readonly #hooks: ReadonlyMap<HookName, readonly Hook<never>[]>
  #users = 1

  /** @throws GatewayError `GW_PLUGIN_REFUSED` or `GW_INVALID_ARGUMENT` where the plugins do not go together. */
  constructor(
    plugins: readonly LoadedPlugin[],
    { workerTools, openTools }: { workerTools: Tools; openTools: (tools: Tools) => ToolSet },
  ) {
    this.plugins = plugins
    const { tools, owners, agents } = mergeConfigs(workerTools, plugins)
    this.tools = openTools(tools)
    this.owners = owners
    this.agents = agents
    this.#hooks = new Map(HOOK_NAMES.map((name) => [name, plugins.flatMap((plugin) => plugin.hook(name) ?? [])]))
    const all = plugins.map(({ interceptors }) => interceptors)
    this.interceptors = {
      task: composeInterceptors(all.flatMap(({ task }) => task ?? [])),
      toolCall: composeInterceptors(all.flatMap(({ toolCall }) => toolCall ?? [])),
      emit: composeInterceptors(all.flatMap(({ emit }) => emit ?? [])),
      flush: composeFlushes(all),
    }
    this.versions = JSON.stringify(Object.fromEntries(plugins.map(({ pluginId, version }) => [pluginId, version])))
  }

  hooks<Name extends HookName>(name: Name): readonly Hook<HookEvents[Name]>[] {
    return (this.#hooks.get(name) ?? []) as readonly Hook<HookEvents[Name]>[]
  }

  version(pluginId: string): string | undefined {
    return this.plugins.find((plugin) => plugin.pluginId === pluginId)?.version
  }

  /** Called once, when it becomes the current one. */
  open(): void {
    for (const plugin of this.plugins) plugin.hold()
  }

  /** A task takes it. */
  enter(): void {
    this.#users += 1
  }

  /** A task leaves it, or it is not the current one any more. */
  leave(): void {
    this.#users -= 1
    if (this.#users === 0) for (const plugin of this.plugins) plugin.release()
  }
}
