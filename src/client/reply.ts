import type { ReplyStatus } from '../dispatch/asks.ts'
import { errorMessage, GatewayError } from '../errors.ts'
import { checkRef, type TaskRef } from '../protocol/ids.ts'
import { lossInJson } from '../protocol/json.ts'

/** An answer to a question of a task. */
export interface ReplyOptions extends TaskRef {
  /** From the `ask_user` event, or from `pendingAsks`. */
  readonly askId: string
  /** Anything JSON can carry. */
  readonly content: unknown
}

/** What became of an answer. */
export interface ReplyAnswer {
  /** True if the task goes on with this answer. */
  readonly success: boolean
  readonly status: ReplyStatus
  /** Why it is `INVALID`. */
  readonly reason?: string
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the field. */
export function checkReply({ sessionId, messageId, askId, content }: ReplyOptions): {
  ref: TaskRef
  askId: string
  content: unknown
} {
  const ref = checkRef({ sessionId, messageId })
  if (typeof askId !== 'string' || askId === '') {
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'askId', value: askId, reason: 'must be a text' })
  }
  if (content === undefined) {
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'content', reason: 'must be given; no answer is null' })
  }
  requireJson(content)
  return { ref, askId, content }
}

function requireJson(content: unknown): void {
  const invalid = (reason: string, cause?: unknown) =>
    new GatewayError('GW_INVALID_ARGUMENT', { field: 'content', value: content, reason }, { cause })
  const loss = lossInJson(content)
  if (loss !== null) throw invalid(loss)
  let text: string | undefined
  try {
    text = JSON.stringify(content)
  } catch (cause) {
    throw invalid(errorMessage(cause), cause)
  }
  const isLost = text === undefined || (text === 'null' && content !== null)
  if (isLost) throw invalid('must be something that JSON can carry')
}
