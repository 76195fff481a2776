import { errorMessage, ToolInputError } from '../../errors.ts'
import type { DurableTask } from './durable-task.ts'
import type { Operation } from './journal.ts'
import { outcomeOf, recordedValue } from './recordable.ts'

/**
 * Calls a tool whose end is recorded: it runs once per task, as far as it comes to one; what it throws is recorded for the
 * attempt. One whose worker dies has recorded nothing and runs again when the handler does.
 *
 * @param run - Checks the arguments and runs the tool.
 */
export async function callRecorded(
  task: DurableTask,
  { name, args }: { readonly name: string; readonly args: unknown },
  run: () => Promise<unknown>,
): Promise<unknown> {
  const op = claim(task, name, args)
  if (op.result !== undefined) return recordedValue(await task.results.recorded(op.key, op.result))
  const done = task.working()
  try {
    if (op.doubt !== undefined) await task.settle(op.doubt)
    const { recorded, failure } = await outcomeOf(task, op.key, run)
    return recordedValue(await task.results.close(op, recorded), failure)
  } finally {
    done()
  }
}

function claim(task: DurableTask, name: string, args: unknown): Operation {
  try {
    JSON.stringify(args)
  } catch (error) {
    // What cannot be compared on a replay cannot be recorded either.
    throw new ToolInputError(name, errorMessage(error))
  }
  return task.claim('tool', name, args)
}
