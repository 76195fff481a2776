import { GatewayError } from '../errors.ts'
import type { SessionEvent } from '../protocol/event.ts'
import type { TaskEnd } from '../store/task-records.ts'

/*
 * Events that no worker wrote: a reader makes them of what it has found out itself.
 */

/** Says that what came after `fromId`, up to `id`, was trimmed before it could be read. */
export function gapEvent(sessionId: string, fromId: string, id: string): SessionEvent {
  const nobody = {
    messageId: '',
    parentMessageId: '',
    agentType: '',
    traceId: '',
    attempt: 0,
    timestamp: 0,
    metadata: {},
  }
  return { ...nobody, id, type: 'gap', sessionId, fromId }
}

/** The `done` of a task as its record tells it, for a stream that has it no more. */
export function doneEvent({ task, result, error, endId }: TaskEnd): SessionEvent {
  if (task.finishedAt === null) throw new GatewayError('GW_CLOSED', { what: 'record of an unfinished task' })
  const { sessionId, messageId, parentMessageId, agentType, traceId, attempt } = task
  return {
    ...{ id: endId, type: 'done', sessionId, messageId, parentMessageId, agentType, traceId, attempt, metadata: {} },
    timestamp: task.finishedAt,
    status: task.status as 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'EXPIRED',
    ...(error === null ? { result } : { error }),
  }
}
