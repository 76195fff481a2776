import { addAsks } from './commands/asks.ts'
import { addDead } from './commands/dead/dead.ts'
import { addDoctor } from './commands/doctor.ts'
import { addHistory } from './commands/history.ts'
import { addPlugins } from './commands/plugins.ts'
import { addReply } from './commands/reply.ts'
import { addSend } from './commands/send.ts'
import { addSessions } from './commands/sessions.ts'
import { addTail } from './commands/tail.ts'
import { addTasks } from './commands/tasks.ts'
import { addTree } from './commands/tree.ts'
import { addWhy } from './commands/why.ts'
import { addWorkers } from './commands/workers.ts'
import { addHelp, program } from './program.ts'

const EXAMPLES = `
Examples:
  $ byclaw send weather_agent "Weather in Beijing?"
  $ byclaw tail s-1 --from 0
  $ byclaw tasks --status failed --json | jq .messageId
  $ byclaw why s-1 msg-1
  $ byclaw asks s-1
  $ byclaw dead list weather_agent --redis-url redis://prod:6379
  $ byclaw dead redrive --capability weather_agent --since 2h --dry-run
`

/** What `byclaw` does with its arguments; answers its exit code. */
export async function operate(args: readonly string[]): Promise<number> {
  const byclaw = program('byclaw', 'Asks agents, follows sessions, and shows what workers do.')
  byclaw.commandsGroup('Commands:')
  addSend(byclaw)
  addTail(byclaw)
  addWorkers(byclaw)
  addPlugins(byclaw)
  addTasks(byclaw)
  addTree(byclaw)
  addWhy(byclaw)
  addAsks(byclaw)
  addReply(byclaw)
  addDead(byclaw)
  addDoctor(byclaw)
  addHistory(byclaw)
  addSessions(byclaw)
  addHelp(byclaw).addHelpText('after', EXAMPLES)
  await byclaw.parseAsync(args, { from: 'user' })
  return Number(process.exitCode ?? 0)
}
