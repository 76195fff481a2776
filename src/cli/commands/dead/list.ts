import type { Command } from 'commander'
import type { DeadLetter } from '../../../store/dead-letter.ts'
import { withClient } from '../../operator.ts'
import { positiveInteger } from '../../option-values.ts'
import { printRows } from '../../rows.ts'
import type { Column } from '../../table.ts'
import { ago } from '../../times.ts'
import { addFilterFlags, FILTER_NAMES, type FilterFlags, toFilterOfCapability } from './filter.ts'

const ID: Column<DeadLetter> = { title: 'ID', cell: ({ id }) => id }
const CAPABILITY: Column<DeadLetter> = { title: 'CAPABILITY', cell: ({ capability }) => capability }
const OTHERS: readonly Column<DeadLetter>[] = [
  { title: 'AGE', cell: ({ id }) => ago(Number.parseInt(id, 10)), align: 'right' },
  { title: 'REASON', cell: ({ reason }) => reason },
  { title: 'SESSION', cell: ({ sessionId }) => sessionId || '-' },
  { title: 'MESSAGE', cell: ({ messageId }) => messageId || '-' },
  { title: 'WORKER', cell: ({ workerId }) => workerId },
  { title: 'DETAIL', cell: ({ detail }) => detail },
]

interface ListFlags extends FilterFlags {
  readonly limit?: number
  readonly json?: true
}

/** `byclaw dead list`: what could not be processed or finished, newest first. */
export function addDeadList(dead: Command): void {
  const command = dead
    .command('list')
    .description('list dead letters, newest first; at most 100 unless told otherwise')
    .argument('[capability]', 'only of this capability')
  addFilterFlags(command)
    .option('--limit <n>', 'at most so many', positiveInteger)
    .option('--json', 'one JSON object per letter, with the data as it came')
  withClient<ListFlags>(
    command,
    async (desk, { limit, json, ...flags }, [argument]) => {
      const filter = toFilterOfCapability(flags, argument)
      const { capability } = filter
      const letters = await desk.client.listDeadLetters({ ...filter, limit })
      const columns = capability === undefined ? [ID, CAPABILITY, ...OTHERS] : [ID, ...OTHERS]
      const empty = capability === undefined ? 'no such dead letter' : `no dead letters of ${capability}`
      printRows(desk, columns, letters, { json, empty })
      return 0
    },
    FILTER_NAMES,
  )
}
