import type { Logger } from '../logger.ts'

/** A logger whose lines name one attempt of a task. */
export function attemptLogger(
  logger: Logger,
  {
    sessionId,
    messageId,
    traceId,
    attempt,
  }: { sessionId: string; messageId: string; traceId: string; attempt: number },
): Logger {
  return logger.child({ sessionId, messageId, traceId, attempt })
}
