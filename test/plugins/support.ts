import { definePlugin, type Plugin, type PluginDefinition } from '../../src/agent/plugin.ts'
import type { Tools } from '../../src/agent/tool.ts'
import { Toolbox } from '../../src/context/toolbox.ts'
import { PluginRegistry } from '../../src/plugins/registry.ts'
import { memoryLogger } from '../worker/harness.ts'

type Parts = Omit<PluginDefinition, 'manifest'> & { readonly version?: string; readonly priority?: number }

/** A plugin of that id, version 1.0.0 unless said otherwise. */
export function make(pluginId: string, { version = '1.0.0', priority, ...parts }: Parts = {}): Plugin {
  return definePlugin({ manifest: { pluginId, version, ...(priority === undefined ? {} : { priority }) }, ...parts })
}

/** A registry without a worker around it. */
export function openRegistry(workerTools: Tools = {}) {
  const logger = memoryLogger()
  const worker = { workerId: 'w', capabilities: ['agent'] }
  const openTools = (tools: Tools) => new Toolbox(tools)
  return { registry: new PluginRegistry({ worker, workerTools, openTools, logger }), logger }
}
