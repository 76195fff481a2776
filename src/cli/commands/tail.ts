import type { Command } from 'commander'
import type { SessionEvent } from '../../protocol/event.ts'
import type { Desk } from '../desk.ts'
import { eventText } from '../event-text.ts'
import { withClient } from '../operator.ts'
import { printable } from '../table.ts'
import type { Format } from '../terminal.ts'
import { clock } from '../times.ts'

interface TailOptions {
  readonly from?: string
  readonly message?: string
  readonly follow: boolean
  readonly json?: true
}

const COLOURS: Readonly<Record<SessionEvent['type'], Format>> = {
  chunk: 'green',
  state: 'dim',
  data: 'cyan',
  artifact: 'cyan',
  ask_user: 'magenta',
  rewind: 'yellow',
  gap: 'yellow',
  error: 'red',
  done: 'bold',
}

/** `byclaw tail`: follows a session, an event per line. */
export function addTail(program: Command): void {
  const command = program
    .command('tail')
    .description('follow a session, one event per line, until Ctrl-C')
    .argument('<session>')
    .option('--from <id>', 'after this event; 0: from the beginning, $: from now on; default $, or 0 with --no-follow')
    .option('--message <id>', 'only this message, from its beginning to its end')
    .option('--no-follow', 'end at the present end')
    .option('--json', 'one JSON event per line')
  const fields = { sessionId: '<session>', after: '--from', messageId: '--message' }
  withClient<TailOptions>(command, tail, fields)
}

async function tail(desk: Desk, options: TailOptions, [session = '']: readonly string[]): Promise<number> {
  const { from, message, follow, json } = options
  // A message has a beginning of its own, and without following nothing comes after now.
  const after = from ?? (follow || message !== undefined ? undefined : '0')
  for await (const event of desk.client.subscribe(session, { after, messageId: message, follow })) {
    desk.print(json ? JSON.stringify(event) : line(event, desk))
  }
  return 0
}

function line(event: SessionEvent, { paint }: Desk): string {
  const { id, type, agentType, timestamp } = event
  const head = paint('dim', `${clock(timestamp || Number.parseInt(id, 10))} ${id}`)
  return `${head} ${printable(agentType) || '-'} ${paint(COLOURS[type], type)} ${printable(eventText(event))}`.trimEnd()
}
