import type { PluginDefinition } from '../agent/plugin.ts'
import type { PluginChange, PluginConfigurator, PluginOrigin, Plugins } from '../agent/plugin-registry.ts'
import type { PluginRegistry } from '../plugins/registry.ts'

/**
 * Adds the plugins that a worker was given, in their order, then those of its configurator, whether that waits for them or
 * not.
 *
 * @throws GatewayError `GW_PLUGIN_REFUSED` of the first one that was refused, or what the configurator throws.
 */
export async function addPlugins(
  registry: PluginRegistry,
  { plugins, pluginConfigurator }: { plugins: readonly PluginDefinition[]; pluginConfigurator?: PluginConfigurator },
): Promise<void> {
  for (const plugin of plugins) requireTaken(await registry.add(plugin))
  if (pluginConfigurator === undefined) return
  const changes: Promise<PluginChange>[] = []
  const noting = (change: Promise<PluginChange>) => {
    changes.push(change)
    return change
  }
  const face: Plugins = {
    add: (plugin: PluginDefinition, origin?: PluginOrigin) => noting(registry.add(plugin, origin)),
    replace: (pluginId, plugin, origin) => noting(registry.replace(pluginId, plugin, origin)),
    remove: (pluginId) => noting(registry.remove(pluginId)),
    list: () => registry.list(),
    stats: () => registry.stats(),
  }
  await pluginConfigurator(face)
  for (const change of changes) requireTaken(await change)
}

/** @throws GatewayError why a plugin was refused, if it was. */
export function requireTaken(change: PluginChange): void {
  if (change.status === 'refused') throw change.error
}
