import type { MessageHeader } from './header.ts'
import { isObject, parseJson } from './json.ts'
import { TERMINAL_STATUSES, type TerminalStatus } from './status.ts'

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

/** Makes the JSON of a task's events; what is the same in all of them is written once. */
export function eventEncoder(
  header: Pick<MessageHeader, 'traceId' | 'sessionId' | 'messageId' | 'parentMessageId'>,
  agentType: string,
): (body: EventBody, attempt: number, metadata?: Record<string, unknown>) => string {
  const head = JSON.stringify({
    trace_id: header.traceId,
    session_id: header.sessionId,
    message_id: header.messageId,
    parent_message_id: header.parentMessageId,
    source_agent_type: agentType,
  }).slice(0, -1)
  return (body, attempt, metadata) => {
    const state = body.type === 'state' ? JSON.stringify(body.state) : '""'
    const url = body.type === 'artifact' ? (JSON.stringify(body.artifact.url ?? '') ?? '""') : '""'
    // Of a function or a symbol JSON has nothing to say.
    const data = JSON.stringify(bodyToWire(body)) ?? 'null'
    const meta = metadata === undefined ? `{"attempt":${attempt}}` : JSON.stringify({ ...metadata, attempt })
    return (
      `${head},"event_type":"${body.type}","timestamp":${Date.now()},"data":${data},` +
      `"state_msg":${state},"artifact_url":${url},"metadata":${meta}}`
    )
  }
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

/**
 * Reads an entry of a data stream. What is not one of our events (another writer's, of another dialect) is handed on
 * as `data`, so that a reader never misses an entry.
 */
export function decodeEvent(id: string, text: string | undefined): SessionEvent {
  const json = text === undefined ? undefined : parseJson(text)
  const wire = json?.ok && isObject(json.value) ? json.value : {}
  const metadata = isObject(wire.metadata) ? wire.metadata : {}
  const origin: EventOrigin = {
    id,
    sessionId: asText(wire.session_id),
    messageId: asText(wire.message_id),
    parentMessageId: asText(wire.parent_message_id),
    agentType: asText(wire.source_agent_type),
    traceId: asText(wire.trace_id),
    attempt: typeof metadata.attempt === 'number' ? metadata.attempt : 0,
    timestamp: typeof wire.timestamp === 'number' ? wire.timestamp : 0,
    metadata,
  }
  const body = bodyFromWire(wire) ?? { type: 'data', data: json?.ok ? json.value : (text ?? null) }
  // For each event there is: two spreads take twenty times as long.
  return Object.assign(body, origin)
}

function bodyFromWire(wire: Record<string, unknown>): EventBody | null {
  const type = wire.event_type as EventType
  if (type === 'data') return { type, data: wire.data }
  const data = wire.data
  if (!isObject(data)) return null
  switch (type) {
    case 'chunk':
      return { type, content: asText(data.content), ...(typeof data.role === 'string' ? { role: data.role } : {}) }
    case 'state':
      return { type, state: asText(data.state), ...('detail' in data ? { detail: data.detail } : {}) }
    case 'artifact': {
      const { mime_type: mimeType, ...rest } = data
      return { type, artifact: { ...rest, ...(mimeType === undefined ? {} : { mimeType }) } as unknown as Artifact }
    }
    case 'ask_user':
      return {
        type,
        askId: asText(data.ask_id),
        prompt: asText(data.prompt),
        schema: data.schema,
        options: data.options,
      }
    case 'rewind':
      return { type, toId: asText(data.to_id) }
    case 'error':
      return errorFromWire(data)
    case 'done':
      return doneFromWire(data)
    default:
      return null
  }
}

function errorFromWire({ code, message, retrying, retry_at: retryAt }: Record<string, unknown>): EventBody {
  const error = { type: 'error', code: asText(code), message: asText(message), retrying: retrying === true } as const
  return typeof retryAt === 'number' ? { retryAt, ...error } : error
}

function doneFromWire({ status, result, error }: Record<string, unknown>): EventBody | null {
  if (!(TERMINAL_STATUSES as readonly unknown[]).includes(status)) return null
  const done = { type: 'done', status: status as TerminalStatus } as const
  return error === undefined ? { result, ...done } : { error: error as TaskFault, ...done }
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
