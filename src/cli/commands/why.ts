import type { Command } from 'commander'
import { EXIT } from '../failure.ts'
import { addGroupFlag, groupOf } from '../group-setting.ts'
import { withClient } from '../operator.ts'
import { printable } from '../table.ts'

/** `byclaw why`: where a task is and what it waits for, in plain words. */
export function addWhy(program: Command): void {
  const command = program
    .command('why')
    .description('tell where a task is and what it waits for; the exit code is 1 when nothing is known of it')
    .argument('<session>')
    .argument('<message>')
    .option('--json', 'the same as one JSON object')
  withClient<{ json?: true }>(
    addGroupFlag(command),
    async ({ client, print }, options, [sessionId = '', messageId = '']) => {
      const explanation = await client.explain({ sessionId, messageId, consumerGroup: groupOf(options) })
      print(options.json ? JSON.stringify(explanation) : printable(explanation.text))
      return explanation.state === 'unknown' ? EXIT.failure : 0
    },
    { sessionId: '<session>', messageId: '<message>' },
  )
}
