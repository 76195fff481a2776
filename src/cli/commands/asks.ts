import type { Command } from 'commander'
import type { PendingAsk } from '../../dispatch/asks.ts'
import { isTerminal } from '../../protocol/status.ts'
import type { Desk } from '../desk.ts'
import { withClient } from '../operator.ts'
import { printRows } from '../rows.ts'
import type { Column } from '../table.ts'
import { ago } from '../times.ts'

const COLUMNS: readonly Column<PendingAsk>[] = [
  { title: 'ASKED', cell: ({ askedAt }) => ago(askedAt), align: 'right' },
  { title: 'SESSION', cell: ({ sessionId }) => sessionId },
  { title: 'MESSAGE', cell: ({ messageId }) => messageId },
  { title: 'ASK', cell: ({ askId }) => askId },
  { title: 'OPTIONS', cell: ({ options }) => choices(options) },
  { title: 'PROMPT', cell: ({ prompt }) => prompt },
]

/** `byclaw asks`: the questions to people that wait for an answer, of a session or of all of them, oldest first. */
export function addAsks(program: Command): void {
  const command = program
    .command('asks')
    .description('list the questions that wait for an answer, oldest first')
    .argument('[session]', 'only of this session; without it all keys are walked')
    .option('--json', 'one JSON object per question')
  withClient<{ json?: true }>(
    command,
    async (desk, { json }, [session]) => {
      const sessions = session === undefined ? await openSessions(desk) : [session]
      const asks: PendingAsk[] = []
      for (const sessionId of sessions) asks.push(...(await desk.client.pendingAsks(sessionId)))
      asks.sort((a, b) => a.askedAt - b.askedAt)
      printRows(desk, COLUMNS, asks, { json, empty: 'nobody is asked anything' })
      return 0
    },
    { sessionId: '[session]' },
  )
}

/** The sessions that have a task without an end. */
async function openSessions({ client }: Desk): Promise<ReadonlySet<string>> {
  const tasks = await client.listTasks({ limit: Number.MAX_SAFE_INTEGER })
  return new Set(tasks.filter(({ status }) => !isTerminal(status)).map(({ sessionId }) => sessionId))
}

function choices(options: unknown): string {
  if (!Array.isArray(options)) return '-'
  return options.map((option) => (typeof option === 'string' ? option : JSON.stringify(option))).join(' | ')
}
