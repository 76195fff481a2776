import type { Command } from 'commander'
import type { WorkerInfo } from '../../store/presence.ts'
import { withClient } from '../operator.ts'
import { printRows } from '../rows.ts'
import type { Column } from '../table.ts'
import { ago } from '../times.ts'

const COLUMNS: readonly Column<WorkerInfo>[] = [
  { title: 'WORKER', cell: ({ workerId }) => workerId },
  { title: 'LOAD', cell: ({ running, maxConcurrency }) => `${running}/${maxConcurrency}`, align: 'right' },
  { title: 'UP', cell: ({ startedAt }) => ago(startedAt), align: 'right' },
  { title: 'SEEN', cell: ({ lastSeenAt }) => ago(lastSeenAt), align: 'right' },
  { title: 'HOST', cell: ({ host, pid }) => `${host}:${pid}` },
  { title: 'VERSION', cell: ({ version }) => version },
  { title: 'CAPABILITIES', cell: ({ capabilities }) => capabilities.join(' ') },
]

/** `byclaw workers`: who is alive, what he can do, how loaded he is. */
export function addWorkers(program: Command): void {
  const command = program
    .command('workers')
    .description('list the live workers')
    .option('--json', 'one JSON object per worker')
  withClient<{ json?: true }>(command, async (desk, { json }) => {
    printRows(desk, COLUMNS, await desk.client.listWorkers(), { json, empty: 'no worker is alive' })
    return 0
  })
}
