import type { HistoryContent, HistoryMessage, HistoryRole, NewHistoryMessage } from '../agent/history.ts'
import { placeId } from './check.ts'
import { plainText } from './plain-text.ts'

/** A message as a row of the table. */
export interface NewRow {
  readonly sessionId: string
  readonly role: HistoryRole
  readonly content: string
  readonly rich: string | null
  readonly metadata: string
  readonly time: number | null
  readonly messageId: string | null
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

const REPLACEMENT = '\ufffd'
/** In JSON text: the zero byte, and halves of surrogate pairs; a backslash that is itself escaped stands before none. */
const UNSTORABLE = /(?<=(?:^|[^\\])(?:\\\\)*)\\u(?:0000|d[89a-f][0-9a-f]{2})/g

export function toRow(sessionId: string, message: NewHistoryMessage): NewRow {
  const { role, content, messageId = '', fencingToken = 0, createdAt, metadata } = message
  const isText = typeof content === 'string'
  return {
    ...{ sessionId, role, content: storable(isText ? content : plainText(content)) },
    rich: isText ? null : toJson(content),
    metadata: metadata === undefined ? '{}' : toJson(metadata),
    time: createdAt === undefined ? null : Math.floor(createdAt),
    messageId: messageId === '' ? null : messageId,
    token: fencingToken,
  }
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
  const tokens = new Map<string, number>()
  const kept = new Map<string | number, NewRow>()
  rows.forEach((row, index) => {
    if (row.messageId === null) {
      kept.set(index, row)
      return
    }
    const task = `${row.sessionId} ${row.messageId}`
    if (row.token < (tokens.get(task) ?? 0)) return
    tokens.set(task, row.token)
    const key = `${task} ${row.role}`
    const first = kept.get(key)
    kept.set(key, first === undefined ? row : { ...row, time: first.time })
  })
  return [...kept.values()]
}

/** One array per column, as the statement takes them. */
export function toColumns(rows: readonly NewRow[]): unknown[][] {
  return [
    ...[rows.map((row) => row.sessionId), rows.map((row) => row.role), rows.map((row) => row.content)],
    ...[rows.map((row) => row.rich), rows.map((row) => row.metadata), rows.map((row) => row.time)],
    ...[rows.map((row) => row.messageId), rows.map((row) => row.token)],
  ]
}

/** Postgres has no zero byte in a text. */
function storable(text: string): string {
  return text.includes('\0') ? text.replaceAll('\0', REPLACEMENT) : text
}

function toJson(value: unknown): string {
  const text = JSON.stringify(value)
  return text.includes('\\u') ? text.replace(UNSTORABLE, REPLACEMENT) : text
}
