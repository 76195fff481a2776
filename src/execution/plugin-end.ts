import type { Emitter } from '../context/emitter.ts'
import type { TaskPlugins } from '../plugins/task-plugins.ts'
import { isCancelled } from '../store/fence.ts'
import type { Outcome } from './outcome.ts'

/**
 * Tells the plugins how an attempt has ended.
 *
 * @param closed - The task has its end, or is parked; false if somebody else goes on with it.
 */
export function tellEnd(
  plugins: TaskPlugins,
  outcome: Outcome,
  { closed, emitter }: { closed: boolean; emitter: Emitter },
): void {
  const { status } = outcome
  if (!closed || status === 'RELINQUISHED') plugins.ended('onTaskLeave', { reason: 'handed-over' })
  else if (emitter.wasCancelled) plugins.ended('onTaskCancel', { reason: emitter.cancelReason })
  else if (status === 'COMPLETED') plugins.ended('onTaskComplete', { result: outcome.result })
  else if (status === 'FAILED') {
    const { fault: error, cause } = outcome
    plugins.ended('onTaskError', { error, cause, retrying: emitter.wasParked })
  } else if (status === 'CANCELLED') plugins.ended('onTaskCancel', { reason: outcome.reason })
  else if (status === 'SUSPENDED') plugins.ended('onTaskLeave', { reason: 'suspended' })
  else if (status === 'FINISHED') {
    // Cancelled by force, or given its end by an operator.
    if (isCancelled(outcome.fence)) plugins.ended('onTaskCancel', { reason: 'by force' })
    else plugins.ended('onTaskLeave', { reason: 'handed-over' })
  }
}
