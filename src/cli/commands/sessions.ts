import type { Command } from 'commander'
import type { Desk } from '../desk.ts'
import { EXIT } from '../failure.ts'
import { addGroupFlag, groupOf } from '../group-setting.ts'
import { withClient } from '../operator.ts'
import { milliseconds } from '../option-values.ts'
import { HISTORY_FLAGS } from '../worker-flags.ts'

interface DeleteOptions {
  readonly timeoutMs?: number
  readonly json?: true
}

/** `byclaw sessions`: looks after whole sessions. */
export function addSessions(program: Command): void {
  const sessions = program.command('sessions').description('look after whole sessions').helpCommand(false)
  const command = sessions
    .command('delete')
    .description(
      'cancel what runs in a session, and delete all that is known of it; with --history-url its messages, too',
    )
    .argument('<session>')
    .option('--timeout-ms <ms>', 'how long to wait for workers to let go of tasks; default 10000', milliseconds)
    .option('--json', 'the outcome as one JSON object')
  const fields = { sessionId: '<session>', consumerGroup: '--consumer-group' }
  withClient<DeleteOptions>(addGroupFlag(command), remove, fields, HISTORY_FLAGS)
}

async function remove(desk: Desk, options: DeleteOptions, [session = '']: readonly string[]) {
  const { json, timeoutMs } = options
  const answer = await desk.client.deleteSession(session, { timeoutMs, consumerGroup: groupOf(options) })
  const { success, tasks, cancelled, left, history } = answer
  if (json) desk.print(JSON.stringify(answer))
  else desk.print(`deleted ${tasks} ${tasks === 1 ? 'task' : 'tasks'}, ${cancelled} of them cancelled`)
  if (left > 0) desk.remark(`workers have not let go of ${left}: the rest of that goes when one takes it over`)
  if (history === 'NOT_CONFIGURED')
    desk.remark('messages that workers keep elsewhere are still there: see --history-url')
  return success ? 0 : EXIT.failure
}
