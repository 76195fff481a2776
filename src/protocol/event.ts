import type { MessageHeader } from './header.ts'
import type { TerminalStatus } from './status.ts'

/*
 * One event = one entry of a session's data stream, a JSON document with the keys
 *   trace_id, session_id, event_type, source_agent_type, message_id, parent_message_id, timestamp, data, state_msg,
 *   artifact_url, metadata
 * all always present. What differs by type lies in `data`; `state_msg` and `artifact_url` repeat the plain text of a
 * state and the URL of an artifact for readers that look no deeper. `metadata.attempt` is the attempt that spoke.
 */

/** What an agent made, and where to find it. */
export interface Artifact {
  readonly name: string
  readonly url?: string | undefined
  readonly mimeType?: string | undefined
  readonly bytes?: number | undefined
  /** Small content in place of a URL. */
  readonly content?: string | undefined
  readonly metadata?: Record<string, unknown> | undefined
}

/** Why a task or an attempt failed: a code for programs, a text for people. */
export interface TaskFault {
  readonly code: string
  readonly message: string
}

/** What an event says, by its type. */
export type EventBody =
  /** A piece of the answer's text. */
  | { readonly type: 'chunk'; readonly content: string; readonly role?: string }
  /** What the agent is doing now. */
  | { readonly type: 'state'; readonly state: string; readonly detail?: unknown }
  /** Any JSON of the agent's own. */
  | { readonly type: 'data'; readonly data: unknown }
  | { readonly type: 'artifact'; readonly artifact: Artifact }
  /** A question for a person; `reply` answers it. */
  | {
      readonly type: 'ask_user'
      readonly askId: string
      readonly prompt: string
      readonly schema?: unknown
      readonly options?: unknown
    }
  /** Forget what this task said after the event `toId` (`0-0`: all of it). */
  | { readonly type: 'rewind'; readonly toId: string }
  /** An attempt failed. */
  | {
      readonly type: 'error'
      readonly code: string
      readonly message: string
      readonly retrying: boolean
      /** When the next attempt is due, if there is one: Unix ms, by the clock of the worker that wrote it. */
      readonly retryAt?: number
    }
  /** The end of a task; each has exactly one. */
  | { readonly type: 'done'; readonly status: TerminalStatus; readonly result?: unknown; readonly error?: TaskFault }

/** The types of event that stand on the wire. */
export type EventType = EventBody['type']

/** Where an event comes from. */
export interface EventOrigin {
  /** Id of the stream entry; give it to `subscribe({ after })` to go on from here. */
  readonly id: string
  readonly sessionId: string
  readonly messageId: string
  readonly parentMessageId: string
  readonly agentType: string
  readonly traceId: string
  readonly attempt: number
  /** Unix ms, by the clock of the worker that wrote it. */
  readonly timestamp: number
  readonly metadata: Record<string, unknown>
}

/** Older events were trimmed before this reader came: it did not see what lay between `fromId` and `id`. The first event that is left comes after `id`. */
export type GapEvent = EventOrigin & { readonly type: 'gap'; readonly fromId: string }

/** What a reader of a session gets, in order; narrow it by `type`. */
export type SessionEvent = (EventOrigin & EventBody) | GapEvent

/** The end of a task whose result is JSON already: it is made once, for the stream and for the record. */
export interface CompletedEvent {
  readonly type: 'done'
  readonly status: 'COMPLETED'
  readonly resultJson: string
}

/** Makes the JSON of a task's events; what is the same in all of them is written once. */
export function eventEncoder(
  header: Pick<MessageHeader, 'traceId' | 'sessionId' | 'messageId' | 'parentMessageId'>,
  agentType: string,
): (body: EventBody | CompletedEvent, attempt: number, metadata?: Record<string, unknown>) => string {
  const head =
    `{"trace_id":${quoted(header.traceId)},"session_id":${quoted(header.sessionId)},` +
    `"message_id":${quoted(header.messageId)},"parent_message_id":${quoted(header.parentMessageId)},` +
    `"source_agent_type":${quoted(agentType)}`
  return (body, attempt, metadata) => {
    const state = body.type === 'state' ? JSON.stringify(body.state) : '""'
    const url = body.type === 'artifact' ? (JSON.stringify(body.artifact.url ?? '') ?? '""') : '""'
    const data = 'resultJson' in body ? completedData(body) : dataOf(body)
    const meta = metadata === undefined ? `{"attempt":${attempt}}` : JSON.stringify({ ...metadata, attempt })
    return (
      `${head},"event_type":"${body.type}","timestamp":${Date.now()},"data":${data},` +
      `"state_msg":${state},"artifact_url":${url},"metadata":${meta}}`
    )
  }
}

/** What needs no escapes, as most ids and names. */
const PLAIN = /^[ !#-[\]-~]*$/

/** Half as dear as JSON.stringify. */
function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text)
}

function completedData({ status, resultJson }: CompletedEvent): string {
  return `{"status":"${status}","result":${resultJson}}`
}

/** Of a function or a symbol JSON has nothing to say. */
function dataOf(body: EventBody): string {
  return JSON.stringify(bodyToWire(body)) ?? 'null'
}

function bodyToWire(body: EventBody): unknown {
  switch (body.type) {
    case 'data':
      return body.data ?? null
    case 'artifact': {
      const { mimeType, ...rest } = body.artifact
      return { ...rest, mime_type: mimeType }
    }
    case 'ask_user':
      return { ask_id: body.askId, prompt: body.prompt, schema: body.schema, options: body.options }
    case 'rewind':
      return { to_id: body.toId }
    case 'error':
      return { code: body.code, message: body.message, retrying: body.retrying, retry_at: body.retryAt }
    case 'chunk':
      return { content: body.content, role: body.role }
    case 'state':
      return { state: body.state, detail: body.detail }
    case 'done':
      return { status: body.status, result: body.result, error: body.error }
  }
}
