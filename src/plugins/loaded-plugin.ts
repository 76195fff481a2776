import type { AgentConfig } from '../agent/agent-config.ts'
import { HOOK_NAMES, type HookEvents, type HookName, type UnloadEvent, type WorkerFacts } from '../agent/hooks.ts'
import type { Interceptors } from '../agent/interceptor.ts'
import type { BuildContext, Plugin, PluginDefinition } from '../agent/plugin.ts'
import type { PluginOrigin } from '../agent/plugin-registry.ts'
import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { deferred } from '../util/deferred.ts'
import { type CheckedPlugin, checkConfigs, checkPlugin, refusal, requirePlugin, unknownHooks } from './check-plugin.ts'
import { Hook } from './hook.ts'
import { watchInterceptors } from './watched-interceptors.ts'

/**
 * One plugin as a worker uses it. It is held by every snapshot in use that has it; when the last of them lets go it is
 * unloaded, once.
 */
export class LoadedPlugin {
  readonly plugin: Plugin
  readonly pluginId: string
  readonly version: string
  readonly manifest: CheckedPlugin['manifest']
  readonly origin: PluginOrigin
  readonly loadedAt = Date.now()
  /** Where it stands among those of its priority. */
  readonly place: number
  readonly interceptors: Interceptors
  readonly #hooks: ReadonlyMap<HookName, Hook<never>>
  readonly #startTimeoutMs: number
  readonly #logger: Logger
  readonly #unloaded = deferred()
  #configs: readonly AgentConfig[] = []
  #holds = 0
  #leaves: UnloadEvent['reason'] = 'removed'

  /** @throws GatewayError `GW_PLUGIN_REFUSED` that names the field and the value. */
  constructor(given: PluginDefinition, options: { origin: PluginOrigin; place: number; logger: Logger }) {
    const plugin = requirePlugin(given)
    const { manifest, hookTimeoutMs: timeoutMs, startTimeoutMs } = checkPlugin(plugin)
    const { build } = options.origin
    this.plugin = plugin
    this.manifest = manifest
    this.pluginId = manifest.pluginId
    this.version = build === undefined ? manifest.version : `${manifest.version}+${build}`
    this.origin = options.origin
    this.place = options.place
    this.#startTimeoutMs = startTimeoutMs
    this.#logger = options.logger.child({ pluginId: this.pluginId, pluginVersion: this.version })
    this.interceptors = watchInterceptors(plugin.interceptors ?? {}, this.#logger)
    this.#hooks = hooksOf(plugin, timeoutMs, this.#logger)
  }

  hook<Name extends HookName>(name: Name): Hook<HookEvents[Name]> | undefined {
    return this.#hooks.get(name) as Hook<HookEvents[Name]> | undefined
  }

  /** Names of the hooks that the plugin has. */
  get hookNames(): HookName[] {
    return HOOK_NAMES.filter((name) => this.plugin[name] !== undefined)
  }

  get configs(): readonly AgentConfig[] {
    return this.#configs
  }

  /** Lets it declare what it has. @throws GatewayError `GW_PLUGIN_REFUSED` */
  async register(worker: WorkerFacts): Promise<void> {
    const { plugin, pluginId } = this
    for (const hook of unknownHooks(plugin))
      this.#logger.warn(
        { hook, hooks: HOOK_NAMES },
        `plugin '${pluginId}': there is no hook ${hook}, it is never called`,
      )
    const context: BuildContext = { ...worker, pluginId, logger: this.#logger }
    const configs = await this.#inTime('registerAgentConfigs', () => plugin.registerAgentConfigs?.(context))
    this.#configs = checkConfigs(pluginId, configs)
  }

  /** @throws GatewayError `GW_PLUGIN_REFUSED` */
  async startUp(worker: WorkerFacts): Promise<void> {
    await this.#inTime('onWorkerStartup', () => this.plugin.onWorkerStartup?.(worker))
  }

  /** Says why it will be unloaded, when it will. */
  leave(reason: UnloadEvent['reason']): void {
    this.#leaves = reason
  }

  hold(): void {
    this.#holds += 1
  }

  release(): void {
    this.#holds -= 1
    if (this.#holds === 0) void this.unload()
  }

  /** Resolves when it is unloaded. */
  get unloaded(): Promise<void> {
    return this.#unloaded.promise
  }

  /** For one that was never held, too. */
  async unload(): Promise<void> {
    await this.hook('onUnload')?.call({ reason: this.#leaves })
    this.#logger.debug({ reason: this.#leaves }, 'plugin unloaded')
    this.#unloaded.resolve()
  }

  async #inTime<Result>(what: string, run: () => Result | Promise<Result>): Promise<Result> {
    let timer: NodeJS.Timeout | undefined
    try {
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(new Error(`it took longer than ${this.#startTimeoutMs} ms`)),
          this.#startTimeoutMs,
        )
        // What a worker that stops has left behind does not keep the process.
        timer.unref()
      })
      return await Promise.race([(async () => run())(), late])
    } catch (error) {
      throw refusal(this.pluginId, `${what}() failed: ${errorMessage(error)}`, error)
    } finally {
      clearTimeout(timer)
    }
  }
}

function hooksOf(plugin: Plugin, timeoutMs: number, logger: Logger): Map<HookName, Hook<never>> {
  const hooks = new Map<HookName, Hook<never>>()
  const add = <Name extends HookName>(name: Name) => {
    const method = plugin[name] as ((event: HookEvents[Name]) => unknown) | undefined
    if (method === undefined) return
    const run = (event: HookEvents[Name]) => method.call(plugin, event)
    hooks.set(name, new Hook({ name, run, timeoutMs, logger }))
  }
  // The starting hook has a time of its own, and its failure is the start's.
  for (const name of HOOK_NAMES) if (name !== 'onWorkerStartup') add(name)
  return hooks
}
