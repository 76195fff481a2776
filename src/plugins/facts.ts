import type { TaskFacts } from '../agent/hooks.ts'
import type { MessageHeader } from '../protocol/header.ts'

/** A task as far as its plugins are told of it. */
export interface AboutTask {
  readonly header: MessageHeader
  readonly agentType: string
  readonly attempt: number
  readonly workerId: string
}

export function factsOf({ header, agentType, attempt, workerId }: AboutTask): TaskFacts {
  const { sessionId, messageId, traceId, parentMessageId, userCode, metadata } = header
  return { sessionId, messageId, traceId, parentMessageId, agentType, workerId, attempt, userCode, metadata }
}
