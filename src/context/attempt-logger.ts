import type { AgentContext } from '../agent/context.ts'
import type { Logger } from '../logger.ts'

/** A logger whose lines name one attempt of a task. */
export function attemptLogger(
  logger: Logger,
  { sessionId, messageId, traceId, attempt }: Pick<AgentContext, 'sessionId' | 'messageId' | 'traceId' | 'attempt'>,
): Logger {
  return logger.child({ sessionId, messageId, traceId, attempt })
}
