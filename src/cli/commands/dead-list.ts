import type { Command } from 'commander'
import type { DeadLetter } from '../../store/dead-letter.ts'
import { withClient } from '../operator.ts'
import { positiveInteger } from '../option-values.ts'
import { printRows } from '../rows.ts'
import type { Column } from '../table.ts'
import { ago } from '../times.ts'

const COLUMNS: readonly Column<DeadLetter>[] = [
  { title: 'ID', cell: ({ id }) => id },
  { title: 'AGE', cell: ({ id }) => ago(Number.parseInt(id, 10)), align: 'right' },
  { title: 'REASON', cell: ({ reason }) => reason },
  { title: 'SESSION', cell: ({ sessionId }) => sessionId || '-' },
  { title: 'MESSAGE', cell: ({ messageId }) => messageId || '-' },
  { title: 'WORKER', cell: ({ workerId }) => workerId },
  { title: 'DETAIL', cell: ({ detail }) => detail },
]

/** `byclaw dead list`: what could not be processed, newest first. */
export function addDeadList(program: Command): void {
  const dead = program.command('dead').description('look after what could not be processed').helpCommand(false)
  const command = dead
    .command('list')
    .description('list the dead letters of a capability, newest first')
    .argument('<capability>')
    .option('--limit <n>', 'at most so many', positiveInteger)
    .option('--json', 'one JSON object per letter, with the data as it came')
  withClient<{ limit?: number; json?: true }>(
    command,
    async (desk, { limit, json }, [capability = '']) => {
      const letters = await desk.client.listDeadLetters(capability, { limit })
      printRows(desk, COLUMNS, letters, { json, empty: `no dead letters of ${capability}` })
      return 0
    },
    { capability: '<capability>' },
  )
}
