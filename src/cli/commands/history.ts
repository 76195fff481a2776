import type { Command } from 'commander'
import type { HistoryContent, HistoryMessage } from '../../agent/history.ts'
import { UsageError } from '../failure.ts'
import { withClient } from '../operator.ts'
import { positiveInteger } from '../option-values.ts'
import { printRows } from '../rows.ts'
import type { Column } from '../table.ts'
import { ago } from '../times.ts'
import { HISTORY_FLAGS } from '../worker-flags.ts'

const COLUMNS: readonly Column<HistoryMessage>[] = [
  { title: 'AGE', cell: ({ createdAt }) => ago(createdAt), align: 'right' },
  { title: 'ROLE', cell: ({ role }) => role },
  { title: 'MESSAGE', cell: ({ messageId }) => messageId || '-' },
  { title: 'CONTENT', cell: ({ content }) => text(content) },
]

interface HistoryOptions {
  readonly limit?: number
  readonly before?: string
  readonly json?: true
}

/** `byclaw history`: what was said in a session. */
export function addHistory(program: Command): void {
  const command = program
    .command('history')
    .description('show what was said in a session, oldest first; --history-url says where it is kept')
    .argument('<session>')
    .option('--limit <n>', 'at most so many, the newest; default 50', positiveInteger)
    .option('--before <id>', 'only what was said before the message with this id')
    .option('--json', 'one JSON object per message')
  withClient<HistoryOptions>(
    command,
    async (desk, { limit, before, json }, [session = '']) => {
      if (!desk.hasHistory) {
        const how = 'say where the workers keep their history: postgres://…, redis://… or redis'
        throw new UsageError(`--history-url is missing: ${how}`)
      }
      const page = { ...(limit === undefined ? {} : { limit }), ...(before === undefined ? {} : { before }) }
      const messages = await desk.client.getHistory(session, page)
      printRows(desk, COLUMNS, messages, { json, empty: 'nothing is kept of this session' })
      return 0
    },
    { sessionId: '<session>', limit: '--limit', before: '--before' },
    HISTORY_FLAGS,
  )
}

function text(content: HistoryContent): string {
  return typeof content === 'string' ? content : JSON.stringify(content)
}
