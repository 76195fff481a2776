import type { Command } from 'commander'
import { parseJson } from '../../protocol/json.ts'
import type { Desk } from '../desk.ts'
import { EXIT, UsageError } from '../failure.ts'
import { withClient } from '../operator.ts'
import { readStdin } from '../stdin.ts'

interface ReplyOptions {
  readonly data?: true
  readonly json?: true
}

/** `byclaw reply`: answers a question of an agent. */
export function addReply(program: Command): void {
  const command = program
    .command('reply')
    .description('answer a question of an agent; the exit code is 0 only when the task goes on with this answer')
    .argument('<session>')
    .argument('<message>')
    .argument('<ask>', 'as `byclaw asks` shows it')
    .argument('<text>', 'the answer; - reads it from stdin')
    .option('--data', 'the text is JSON and is given as such')
    .option('--json', 'what became of it as one JSON object')
  const fields = { sessionId: '<session>', messageId: '<message>', askId: '<ask>' }
  withClient<ReplyOptions>(command, reply, fields)
}

async function reply(
  desk: Desk,
  { data, json }: ReplyOptions,
  [sessionId = '', messageId = '', askId = '', given = '']: readonly string[],
): Promise<number> {
  const text = given === '-' ? await readStdin() : given
  const answer = await desk.client.reply({ sessionId, messageId, askId, content: data ? parseData(text) : text })
  const reason = answer.reason === undefined ? '' : `: ${answer.reason}`
  desk.print(json ? JSON.stringify(answer) : `${answer.status}${reason}`)
  return answer.success ? 0 : EXIT.failure
}

function parseData(text: string): unknown {
  const json = parseJson(text)
  if (json.ok) return json.value
  throw new UsageError(`--data: the text is no JSON: ${json.reason}`)
}
