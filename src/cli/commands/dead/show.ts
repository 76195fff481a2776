import type { Command } from 'commander'
import { parseJson } from '../../../protocol/json.ts'
import type { DeadLetter } from '../../../store/dead-letter.ts'
import type { AttemptFailure, TaskInfo } from '../../../store/task-records.ts'
import type { Desk } from '../../desk.ts'
import { EXIT } from '../../failure.ts'
import { withClient } from '../../operator.ts'
import { type Column, printable, tableLines } from '../../table.ts'
import { ago } from '../../times.ts'
import { FILTER_NAMES, type FilterFlags, toFilterOfLetter } from './filter.ts'

const HISTORY: readonly Column<AttemptFailure>[] = [
  { title: 'TRY', cell: ({ attempt }) => String(attempt), align: 'right' },
  { title: 'AT', cell: ({ at }) => timestamp(at) },
  { title: 'WORKER', cell: ({ workerId }) => String(workerId) },
  { title: 'CODE', cell: ({ code }) => String(code) },
  { title: 'MESSAGE', cell: ({ message }) => String(message) },
]

type ShowFlags = Pick<FilterFlags, 'capability' | 'session'> & { readonly json?: true }

/** `byclaw dead show`: one letter, whole, and what its task is doing now. */
export function addDeadShow(dead: Command): void {
  const command = dead
    .command('show')
    .description('show one dead letter, with the history of its attempts and its data')
    .argument('<letter>', 'its id, or the id of its message: then the newest one')
    .option('--capability <name>', 'only of this capability')
    .option('--session <id>', 'only of this session')
    .option('--json', 'as one JSON object, with the data as it came')
  withClient<ShowFlags>(command, show, { ...FILTER_NAMES, messageId: '<letter>' })
}

async function show(desk: Desk, { json, ...flags }: ShowFlags, [argument]: readonly string[]): Promise<number> {
  const letter = await desk.client.showDeadLetter(toFilterOfLetter(flags, argument))
  if (letter === null) {
    desk.remark('no such dead letter')
    return EXIT.failure
  }
  const { sessionId, messageId } = letter
  const task = messageId === '' ? null : await desk.client.getTask({ sessionId, messageId })
  if (json) desk.print(JSON.stringify({ ...letter, task }))
  else for (const line of lines(letter, task, desk)) desk.print(line)
  return 0
}

function lines(letter: DeadLetter, task: TaskInfo | null, { paint, width }: Desk): string[] {
  const { id, capability, priority, reason, detail, sessionId, messageId, workerId, entryId, history, data } = letter
  const at = Number.parseInt(id, 10)
  const facts: readonly (readonly [name: string, value: string])[] = [
    ['letter', `${id}, ${timestamp(at)}, ${ago(at)}`],
    ['capability', `${capability}, ${priority} lane`],
    ['reason', reason],
    ['detail', detail],
    ['session', sessionId || '-'],
    ['message', messageId || '-'],
    ['task now', task === null ? '-' : task.status],
    ['worker', workerId],
    ['entry', entryId],
  ]
  const heading = (text: string) => paint('bold', text)
  const table = history.length === 0 ? [] : ['', ...tableLines(HISTORY, history, { width, heading })]
  const head = facts.map(([name, value]) => `${heading(name.padEnd(10))}  ${printable(value)}`)
  return [...head, ...table, '', ...readable(data)]
}

/** JSON laid out for reading; what is none as it is, on one line. */
function readable(data: string): string[] {
  const json = parseJson(data)
  return json.ok ? JSON.stringify(json.value, null, 2).split('\n').map(printable) : [printable(data)]
}

/** What stands in a history was written by others, and need not be a time. */
function timestamp(unixMs: unknown): string {
  const date = new Date(Number(unixMs))
  return Number.isNaN(date.getTime()) ? '-' : date.toISOString()
}
