import type { Command } from 'commander'
import { isTerminal } from '../../protocol/status.ts'
import type { TaskTree } from '../../store/task-trees.ts'
import { span } from '../../util/span.ts'
import type { Desk } from '../desk.ts'
import { withClient } from '../operator.ts'
import { printRows } from '../rows.ts'
import type { Column } from '../table.ts'
import { lasted } from '../times.ts'

interface TreeOptions {
  readonly json?: true
}

/** A task of the tree as one line: what stands before its name shows whose child it is. */
interface Branch extends TaskTree {
  readonly lead: string
}

const COLUMNS: readonly Column<Branch>[] = [
  { title: 'AGENT', cell: ({ lead, task }) => `${lead}${task.agentType || '-'}` },
  { title: 'STATUS', cell: ({ task }) => task.status },
  { title: 'TOOK', cell: took, align: 'right' },
  { title: 'TRY', cell: ({ task }) => String(task.attempt), align: 'right' },
  { title: 'MESSAGE', cell: ({ task }) => task.messageId },
  { title: 'ERROR', cell: ({ error }) => (error === null ? '' : `${error.message} (${error.code})`) },
]

/** `byclaw tree`: a task and all that was sent on its behalf. */
export function addTree(program: Command): void {
  const command = program
    .command('tree')
    .description('show a task and all that was sent on its behalf')
    .argument('<session>')
    .argument('<message>')
    .option('--json', 'the tree as one JSON object')
  withClient<TreeOptions>(command, tree, { sessionId: '<session>', messageId: '<message>' })
}

async function tree(desk: Desk, { json }: TreeOptions, [session = '', message = '']: readonly string[]) {
  const root = await desk.client.getTree(session, message)
  if (root === null) {
    desk.remark('no such task')
    return 1
  }
  if (json) desk.print(JSON.stringify(root))
  else printRows(desk, COLUMNS, branches(root), { json: undefined, empty: '' })
  return 0
}

/** The tree from top to bottom, each task before its children. */
function branches(root: TaskTree): Branch[] {
  const lines: Branch[] = []
  const open = [{ node: root, lead: '', below: '' }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, lead, below } = next
    lines.push({ ...node, lead })
    for (const [index, child] of [...node.children].reverse().entries()) {
      const isLast = index === 0
      open.push({ node: child, lead: `${below}${isLast ? '└─ ' : '├─ '}`, below: `${below}${isLast ? '   ' : '│  '}` })
    }
  }
  return lines
}

/** How long it took, or has taken so far. */
function took({ task: { status, startedAt, finishedAt } }: Branch): string {
  if (startedAt === null || isTerminal(status)) return lasted(startedAt, finishedAt)
  return `${span(Date.now() - startedAt)}…`
}
