import { errorMessage, GatewayError } from '../../errors.ts'
import { msLeft, startDeadline } from './deadline.ts'
import type { DurableTask } from './durable-task.ts'

/** A year. */
const MOST_MS = 31_536_000_000

/** See `AgentContext.sleep`. */
export async function sleep(task: DurableTask, ms: number): Promise<void> {
  if (typeof ms !== 'number' || !(ms >= 0 && ms <= MOST_MS)) {
    const reason = 'must be a number of milliseconds, at most a year'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'ms', value: ms, reason })
  }
  const op = task.claim('sleep', '', { ms })
  const { resources, ref, emitter } = task
  const isShort = msLeft(task, op, ms) < resources.suspendAfterMs
  let timer: NodeJS.Timeout | undefined
  const open = async () => {
    const answer = await resources.journals.open({ op: op.key, entry: op.json, sum: emitter.sum(), ...ref })
    if (answer.status !== 'noted' || answer.text !== '') return answer
    if (isShort) timer = setTimeout(() => void wake(), msLeft(task, op, ms))
    else await startDeadline(task, op, ms, 'null')
    return answer
  }
  const wake = async () => {
    try {
      const note = { op: op.key, entry: '', result: 'null', sum: emitter.sum(), ...ref }
      task.hear(op.key, task.noted(await resources.journals.close(note)))
    } catch (error) {
      // A task that is not this attempt's any more needs no waking; all else is tried again.
      task.logger.debug({ reason: errorMessage(error) }, 'a sleep could not be ended, trying again')
      if (!task.isOver) timer = setTimeout(() => void wake(), 200)
    }
  }
  try {
    await task.outcome(op, isShort ? 'local' : 'timer', open)
  } finally {
    clearTimeout(timer)
  }
}
