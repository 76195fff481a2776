import type { HistoryContent } from '../agent/history.ts'
import { errorMessage, GatewayError, invalidArgument } from '../errors.ts'
import type { TaskFault } from '../protocol/event.ts'
import { lossInJson } from '../protocol/json.ts'
import { isReadable } from '../util/loggable.ts'

/** How an attempt came out: with a result (as JSON), with a fault, or not at all because it may not say. */
export type Outcome =
  | { readonly status: 'COMPLETED'; readonly result: unknown; readonly resultJson: string }
  | { readonly status: 'FAILED'; readonly fault: TaskFault; readonly cause: unknown }
  /** The task was cancelled, whatever its handler has done. */
  | { readonly status: 'CANCELLED'; readonly reason: string }
  /** The task was not started in time. */
  | { readonly status: 'EXPIRED' }
  /** The attempt lost its task, or its worker hands it over: somebody else will end it. */
  | { readonly status: 'RELINQUISHED'; readonly reason: GatewayError }
  /** The task is parked until an answer comes. */
  | { readonly status: 'SUSPENDED' }
  /** The task was given its end from outside. */
  | { readonly status: 'FINISHED'; readonly fence: string }

const MOST_MESSAGE_LENGTH = 16_384

/** An attempt that failed. */
export type Failed = Outcome & { readonly status: 'FAILED' }

/** What a handler returned, as a result that can be recorded; what cannot be recorded is a fault. */
export function completed(value: unknown, maxBytes: number): Outcome {
  const loss = lossInJson(value)
  if (loss !== null) return failed(invalidArgument('the result of processCommand', value, loss))
  let json: string
  try {
    json = JSON.stringify(value ?? null) ?? 'null'
  } catch (cause) {
    const error = new GatewayError('GW_INVALID_ARGUMENT', {
      field: 'the result of processCommand',
      reason: errorMessage(cause),
    })
    return failed(error)
  }
  if (json.length * 3 > maxBytes && Buffer.byteLength(json) > maxBytes) {
    const bytes = Buffer.byteLength(json)
    return failed(
      new GatewayError('GW_PAYLOAD_TOO_LARGE', { field: 'the result of processCommand', bytes, limit: maxBytes }),
    )
  }
  return { status: 'COMPLETED', result: value ?? null, resultJson: json }
}

/** What was thrown, as a fault: its own code if it has one of ours, else `GW_TASK_FAILED`; its text is cut off at 16 Ki characters. */
export function failed(error: unknown): Failed {
  const text = errorMessage(error)
  // It goes into events, the record, a dead letter and the journal of who called; some bear the whole page that they met.
  const message = text.length > MOST_MESSAGE_LENGTH ? `${text.slice(0, MOST_MESSAGE_LENGTH)}…` : text
  // The retry policy will look at it, too.
  const cause = isReadable(error) ? error : new Error(message)
  const code = cause instanceof GatewayError ? cause.code : 'GW_TASK_FAILED'
  return { status: 'FAILED', fault: { code, message }, cause }
}

/** What comes of an attempt that is broken off, by the reason: some leave the task to somebody else. */
export function brokenOff(reason: GatewayError): Outcome {
  const isLeft = reason.code === 'GW_LEASE_LOST' || reason.code === 'GW_SHUTDOWN'
  return isLeft ? { status: 'RELINQUISHED', reason } : failed(reason)
}

/** What an end has to say in a session's history: what was streamed, else the result; '' if it is neither. */
export function spokenContent(outcome: Outcome, streamed: string): HistoryContent {
  if (streamed !== '' || outcome.status !== 'COMPLETED') return streamed
  const { result, resultJson } = outcome
  const text = contentOfResult(result, '')
  // What counts is what was recorded: of much that there is, such as functions, JSON knows nothing.
  if (text !== '' || resultJson === 'null') return text
  return /^[[{]/.test(resultJson) ? (result as HistoryContent) : String(JSON.parse(resultJson))
}

/** The text of a result, for those who want words: the result itself, or its `content`, or what was streamed. */
export function contentOfResult(result: unknown, streamed: string): string {
  if (typeof result === 'string') return result
  if (typeof result === 'object' && result !== null && 'content' in result && typeof result.content === 'string') {
    return result.content
  }
  return streamed
}
