import { ownText } from '../util/own-text.ts'
import type { Artifact, EventBody, EventOrigin, EventType, SessionEvent, TaskFault } from './event.ts'
import { isObject, type JsonObject, parseJson } from './json.ts'
import { TERMINAL_STATUSES, type TerminalStatus } from './status.ts'

/**
 * Reads an entry of a data stream. What is not one of our events (another writer's, of another dialect) is handed on
 * as `data`, so that a reader never misses an entry.
 */
export function decodeEvent(id: string, text: string | undefined): SessionEvent {
  const json = text === undefined ? undefined : parseJson(text)
  const wire = json?.ok && isObject(json.value) ? json.value : {}
  const body = bodyFromWire(wire.event_type as EventType, wire.data) ?? {
    type: 'data',
    data: json?.ok ? json.value : (text ?? null),
  }
  const { timestamp } = wire
  const time = typeof timestamp === 'number' ? timestamp : 0
  // For each event there is: two spreads take twenty times as long.
  return Object.assign(body, speakerOf(wire), { id, timestamp: time })
}

/** Who has said an event. */
type EventSpeaker = Omit<EventOrigin, 'id' | 'timestamp'>

/** What stands around the time and the data of an event. */
interface Frame {
  readonly before: string
  readonly behind: string
  readonly type: EventType
  readonly speaker: EventSpeaker
}

/**
 * Reads the events of a session. Most come in runs, the chunks of one attempt, in which only the time and the data differ:
 * what stands around these is parsed once for all that follow, and its texts are shared by them.
 */
export class EventDecoder {
  #frame: Frame | undefined
  /** How the last event began that was not in the frame. */
  #beginning = ''

  /** See {@link decodeEvent}. */
  decode(id: string, text: string | undefined): SessionEvent {
    if (text === undefined) return decodeEvent(id, text)
    return this.#decodeFramed(id, text) ?? this.#decodeOther(id, text)
  }

  #decodeFramed(id: string, text: string): SessionEvent | undefined {
    if (this.#frame === undefined) return undefined
    const { before, behind, type, speaker } = this.#frame
    const inner = text.length - behind.length
    if (inner < before.length || text.slice(0, before.length) !== before || text.slice(inner) !== behind)
      return undefined
    const json = parseJson(`{"timestamp":${text.slice(before.length, inner)}}`)
    // What says more than these two says something in the place of the frame.
    if (!json.ok || !isObject(json.value) || Object.keys(json.value).length !== 2) return undefined
    const { timestamp, data } = json.value
    const body = data === undefined ? null : bodyFromWire(type, data)
    if (body === null || typeof timestamp !== 'number') return undefined
    return Object.assign(body, speaker, { id, timestamp, metadata: { ...speaker.metadata } })
  }

  #decodeOther(id: string, text: string): SessionEvent {
    const time = text.indexOf(TIME)
    if (time >= 0) {
      const beginning = text.slice(0, time + TIME.length)
      if (beginning !== this.#beginning) this.#beginning = ownText(beginning)
      else this.#frame = toFrame(this.#beginning, ownText(text.slice(text.lastIndexOf(BEHIND))))
    }
    return decodeEvent(id, text)
  }
}

const TIME = ',"timestamp":'
const BEHIND = ',"state_msg":'
// Nobody else knows them, so nobody can write a text in which they are found in another place than theirs.
const ANY_TIME = Math.random()
const ANY_DATA = Math.random()

/** Undefined if time and data do not stand between the two, or what stands around them cannot be shared. */
function toFrame(before: string, behind: string): Frame | undefined {
  const json = parseJson(`${before}${ANY_TIME},"data":${ANY_DATA}${behind}`)
  if (!json.ok || !isObject(json.value)) return undefined
  const { timestamp, data, event_type: type } = json.value
  if (timestamp !== ANY_TIME || data !== ANY_DATA) return undefined
  const speaker = speakerOf(json.value)
  if (Object.values(speaker.metadata).some((value) => typeof value === 'object')) return undefined
  return { before, behind, type: type as EventType, speaker }
}

function speakerOf(wire: JsonObject): EventSpeaker {
  const metadata = isObject(wire.metadata) ? wire.metadata : {}
  return {
    sessionId: asText(wire.session_id),
    messageId: asText(wire.message_id),
    parentMessageId: asText(wire.parent_message_id),
    agentType: asText(wire.source_agent_type),
    traceId: asText(wire.trace_id),
    attempt: typeof metadata.attempt === 'number' ? metadata.attempt : 0,
    metadata,
  }
}

function bodyFromWire(type: EventType, data: unknown): EventBody | null {
  if (type === 'data') return { type, data }
  if (!isObject(data)) return null
  switch (type) {
    case 'chunk':
      return chunkFromWire(data)
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

/** No literal, since there are so many; see `deferred`. */
function chunkFromWire({ content, role }: Record<string, unknown>): EventBody {
  const chunk = {} as { type: 'chunk'; content: string; role?: string }
  chunk.type = 'chunk'
  chunk.content = asText(content)
  if (typeof role === 'string') chunk.role = role
  return chunk
}

function errorFromWire({ code, message, retrying, retry_at: retryAt }: Record<string, unknown>): EventBody {
  const error = { type: 'error', code: asText(code), message: asText(message), retrying: retrying === true } as const
  return typeof retryAt === 'number' ? { retryAt, ...error } : error
}

function doneFromWire({ status, result, error }: Record<string, unknown>): EventBody | null {
  if (!(TERMINAL_STATUSES as readonly unknown[]).includes(status)) return null
  const done = { type: 'done', status: status as TerminalStatus } as const
  // Not every writer leaves out what is not there: null is no reason to forget the result.
  return isObject(error) ? { error: error as unknown as TaskFault, ...done } : { result, ...done }
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
