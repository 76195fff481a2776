import type { Command } from 'commander'
import type { PluginListing, WorkerReload } from '../../client/plugin-office.ts'
import type { PluginReload } from '../../store/plugin-board.ts'
import { EXIT } from '../failure.ts'
import { withClient } from '../operator.ts'
import { milliseconds } from '../option-values.ts'
import { printRows } from '../rows.ts'
import type { Column } from '../table.ts'
import { ago } from '../times.ts'

const LISTED: readonly Column<PluginListing>[] = [
  { title: 'PLUGIN', cell: ({ pluginId }) => pluginId },
  { title: 'WORKER', cell: ({ workerId }) => workerId },
  { title: 'STATE', cell: ({ state }) => state },
  { title: 'VERSION', cell: ({ version }) => version ?? '-' },
  { title: 'LOADED', cell: ({ loadedAt }) => (loadedAt === null ? '-' : ago(loadedAt)), align: 'right' },
  { title: 'SOURCE', cell: ({ source }) => source ?? 'code' },
  { title: 'ERROR', cell: ({ error }) => error ?? '' },
]

/** A line of a reload's report: a plugin on a worker, or a worker without an answer. */
type ReloadRow = { readonly workerId: string } & Pick<PluginReload, 'pluginId' | 'version' | 'error'> & {
    readonly status: PluginReload['status'] | 'silent'
  }

const RELOADED: readonly Column<ReloadRow>[] = [
  { title: 'WORKER', cell: ({ workerId }) => workerId },
  { title: 'PLUGIN', cell: ({ pluginId }) => pluginId },
  { title: 'STATUS', cell: ({ status }) => status },
  { title: 'VERSION', cell: ({ version }) => version ?? '-' },
  { title: 'ERROR', cell: ({ error }) => error ?? '' },
]

/** `byclaw plugins`: what the workers' plugins are, and an order to load them anew. */
export function addPlugins(program: Command): void {
  const plugins = program.command('plugins').description('list the plugins of the workers, or load them anew')
  plugins.helpCommand(false)
  addList(plugins)
  addReload(plugins)
}

function addList(plugins: Command): void {
  const command = plugins
    .command('list')
    .description('list the plugins of the live workers: versions, state, last error')
    .option('--json', 'one JSON object per plugin and worker')
  withClient<{ json?: true }>(command, async (desk, { json }) => {
    printRows(desk, LISTED, await desk.client.listPlugins(), { json, empty: 'no live worker has a plugin' })
    return 0
  })
}

function addReload(plugins: Command): void {
  const command = plugins
    .command('reload')
    .description('have all live workers load their plugins anew, and wait for their word')
    .argument('[id]', 'only this plugin')
    .option('--timeout-ms <ms>', 'how long to wait for the answers; default 30000', milliseconds)
    .option('--json', 'one JSON object per worker')
  withClient<{ json?: true; timeoutMs?: number }>(
    command,
    async (desk, { json, timeoutMs }, [pluginId]) => {
      const workers = await desk.client.reloadPlugins({ pluginId, timeoutMs })
      if (json) for (const worker of workers) desk.print(JSON.stringify(worker))
      else printRows(desk, RELOADED, workers.flatMap(toRows), { json, empty: emptyReport(pluginId) })
      const isFound = pluginId === undefined || workers.length > 0
      return isFound && workers.every(({ status }) => status === 'done') ? 0 : EXIT.failure
    },
    { pluginId: 'the id' },
  )
}

function toRows({ workerId, status, plugins }: WorkerReload): ReloadRow[] {
  if (status === 'silent') return [{ workerId, pluginId: '-', status, version: null, error: 'no answer in time' }]
  return plugins.map((plugin) => ({ workerId, ...plugin }))
}

function emptyReport(pluginId: string | undefined): string {
  return pluginId === undefined ? 'no live worker has a plugin' : `no live worker has a plugin '${pluginId}'`
}
