import { errorMessage, GatewayError } from '../../errors.ts'
import type { DurableTask } from './durable-task.ts'

/** A year. */
const MOST_MS = 31_536_000_000
/** The pause before a sleep that could not be ended is ended again, in ms. */
const WAKE_AGAIN_MS = 200

/** See `AgentContext.sleep`. */
export async function sleep(task: DurableTask, ms: number): Promise<void> {
  if (typeof ms !== 'number' || !(ms >= 0 && ms <= MOST_MS)) {
    const reason = 'must be a number of milliseconds, at most a year'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'ms', value: ms, reason })
  }
  const op = task.claim('sleep', '', { ms })
  const { resources, ref, emitter, deadlines } = task
  const isShort = deadlines.msLeft(op, ms) < resources.suspendAfterMs
  let giveUp: (() => void) | undefined
  const open = async () => {
    const answer = await resources.journals.open({ op: op.key, entry: op.json, sum: emitter.sum(), ...ref })
    if (answer.status !== 'noted' || answer.text !== '') return answer
    if (isShort) giveUp = deadlines.ring(deadlines.msLeft(op, ms), wake)
    else await deadlines.start(op, ms, 'null')
    return answer
  }
  const wake = async () => {
    try {
      const note = { op: op.key, entry: '', result: 'null', sum: emitter.sum(), ...ref }
      task.hear(op.key, task.noted(await resources.journals.close(note)))
    } catch (error) {
      // A task that is not this attempt's any more needs no waking; all else is tried again.
      task.logger.debug({ reason: errorMessage(error) }, 'a sleep could not be ended, trying again')
      giveUp = deadlines.ring(WAKE_AGAIN_MS, wake)
    }
  }
  try {
    await task.outcome(op, isShort ? 'local' : 'timer', open)
  } finally {
    giveUp?.()
  }
}
