import { type Command, InvalidArgumentError } from 'commander'
import type { TaskStatus } from '../../protocol/status.ts'
import type { TaskInfo } from '../../store/task-records.ts'
import { withClient } from '../operator.ts'
import { positiveInteger } from '../option-values.ts'
import { printRows } from '../rows.ts'
import type { Column } from '../table.ts'
import { ago, lasted } from '../times.ts'

/** A record, so that the compiler misses none. */
const STATUSES: Readonly<Record<TaskStatus, true>> = {
  QUEUED: true,
  RUNNING: true,
  RETRYING: true,
  DELAYED: true,
  WAITING_AGENT: true,
  WAITING_USER: true,
  COMPLETED: true,
  FAILED: true,
  CANCELLED: true,
  EXPIRED: true,
}

const COLUMNS: readonly Column<TaskInfo>[] = [
  { title: 'STATUS', cell: ({ status }) => status },
  { title: 'AGENT', cell: ({ agentType }) => agentType },
  { title: 'AGE', cell: ({ createdAt }) => ago(createdAt), align: 'right' },
  { title: 'TOOK', cell: ({ startedAt, finishedAt }) => lasted(startedAt, finishedAt), align: 'right' },
  { title: 'TRY', cell: ({ attempt }) => String(attempt), align: 'right' },
  { title: 'WORKER', cell: ({ workerId }) => workerId || '-' },
  { title: 'SESSION', cell: ({ sessionId }) => sessionId },
  { title: 'MESSAGE', cell: ({ messageId }) => messageId },
]

interface TasksOptions {
  readonly session?: string
  readonly status?: TaskStatus
  readonly limit?: number
  readonly json?: true
}

/** `byclaw tasks`: tasks of a session, or of all of them, oldest first. */
export function addTasks(program: Command): void {
  const command = program
    .command('tasks')
    .description('list tasks, oldest first')
    .option('--session <id>', 'only of this session; without it all keys are walked')
    .option('--status <status>', 'only those that are queued, running, completed, failed …', toStatus)
    .option('--limit <n>', 'at most so many', positiveInteger)
    .option('--json', 'one JSON object per task')
  withClient<TasksOptions>(
    command,
    async (desk, { session, status, limit, json }) => {
      const tasks = await desk.client.listTasks({ sessionId: session, status, limit })
      printRows(desk, COLUMNS, tasks, { json, empty: 'no such task' })
      return 0
    },
    { sessionId: '--session' },
  )
}

function toStatus(text: string): TaskStatus {
  const upper = text.toUpperCase().replaceAll('-', '_')
  if (isStatus(upper)) return upper
  throw new InvalidArgumentError(`It must be one of ${Object.keys(STATUSES).join(', ')}.`)
}

function isStatus(text: string): text is TaskStatus {
  return Object.hasOwn(STATUSES, text)
}
