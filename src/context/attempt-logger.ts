import type { Logger } from '../logger.ts'

/** A logger whose lines name one attempt of a task. */
export function attemptLogger(
  logger: Logger,
  attempt: { sessionId: string; messageId: string; traceId: string; attempt: number },
): Logger {
  const { sessionId, messageId, traceId } = attempt
  return logger.child({ sessionId, messageId, traceId, attempt: attempt.attempt })
}
