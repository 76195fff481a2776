import type { HistoryContent, HistoryMessage, HistoryRole, NewHistoryMessage } from '../agent/history.ts'
import { placeId } from './check.ts'
import { plainText } from './plain-text.ts'

/** A message as the statement takes it, in JSON: with the names of the columns. */
export interface NewRow {
  readonly session_id: string
  readonly role: HistoryRole
  readonly content: string
  /** Undefined for a text. */
  readonly rich: HistoryContent | undefined
  readonly metadata: Readonly<Record<string, unknown>>
  /** Unix ms; undefined: when the server takes it. */
  readonly time: number | undefined
  readonly message_id: string | undefined
  readonly token: number
}

/** A row as it is read. */
export interface StoredRow {
  readonly id: string
  readonly role: HistoryRole
  readonly content: string | null
  readonly rich: HistoryContent | null
  readonly metadata: Readonly<Record<string, unknown>> | null
  readonly message_id: string | null
  readonly fencing_token: string | null
  /** Unix µs. */
  readonly time: string
}

const NONE: NewRow['metadata'] = Object.freeze({})
const REPLACEMENT = '\ufffd'
/** Any escape in JSON text, so that an escaped backslash begins none; apart, the zero byte and halves of surrogate pairs. */
const ESCAPE = /\\(?:(u0000|ud[89a-f][0-9a-f]{2})|.)/g
/** The same in a text itself. */
const UNSTORABLE = /\0|\p{Surrogate}/gu

export function toRow(sessionId: string, message: NewHistoryMessage): NewRow {
  const { role, content, messageId = '', fencingToken = 0, createdAt, metadata = NONE } = message
  const isText = typeof content === 'string'
  return {
    session_id: sessionId,
    role,
    content: isText ? content : plainText(content),
    rich: isText ? undefined : content,
    metadata,
    time: createdAt === undefined ? undefined : Math.floor(createdAt),
    // As it will be stored: what is one id there is one message.
    message_id: messageId === '' ? undefined : messageId.replace(UNSTORABLE, REPLACEMENT),
    token: fencingToken,
  }
}

/** About how many characters rows take as JSON. @throws what JSON throws for what it has no text for. */
export function lengthOf(rows: readonly NewRow[]): number {
  let length = 0
  for (const { content, rich, metadata } of rows) {
    length += content.length
    if (rich !== undefined) length += jsonLength(rich)
    if (metadata !== NONE) length += jsonLength(metadata)
  }
  return length
}

function jsonLength(value: unknown): number {
  // What has a `toJSON` may have nothing to say.
  return (JSON.stringify(value) as string | undefined)?.length ?? 0
}

/** Rows as one JSON text, without what Postgres cannot hold. */
export function toJson(rows: readonly NewRow[]): string {
  const text = JSON.stringify(rows)
  if (!text.includes('\\u')) return text
  return text.replace(ESCAPE, (whole, unstorable?: string) => (unstorable === undefined ? whole : REPLACEMENT))
}

export function toMessage(sessionId: string, row: StoredRow): HistoryMessage {
  return {
    id: placeId(row.time, row.id),
    sessionId,
    role: row.role,
    content: row.rich ?? row.content ?? '',
    messageId: row.message_id ?? '',
    metadata: row.metadata ?? {},
    createdAt: Math.floor(Number(row.time) / 1_000),
    fencingToken: Number(row.fencing_token ?? 0),
  }
}

/**
 * What becomes of rows that are taken one after the other, for a statement that can touch no row twice: none of an attempt
 * that comes after a later one, and of each message the last, at the time of the first.
 */
export function withoutStale(rows: readonly NewRow[]): readonly NewRow[] {
  const kept: NewRow[] = []
  /** By message id, where its rows stand; those of other sessions may be among them. */
  const places = new Map<string, number[]>()
  for (const row of rows) {
    if (row.message_id === undefined) {
      // In the table a blank row without an id is a message, as other writers have it; here it has nothing to take back.
      if (row.content !== '' || row.rich !== undefined) kept.push(row)
      continue
    }
    const known = places.get(row.message_id)
    if (known === undefined) {
      places.set(row.message_id, [kept.length])
      kept.push(row)
      continue
    }
    const own = known.filter((place) => kept[place]?.session_id === row.session_id)
    if (own.some((place) => (kept[place] as NewRow).token > row.token)) continue
    const place = own.find((place) => kept[place]?.role === row.role)
    if (place !== undefined) kept[place] = { ...row, time: (kept[place] as NewRow).time }
    else known.push(kept.push(row) - 1)
  }
  return kept
}
