import {
  HISTORY_ROLES,
  type HistoryMessage,
  type HistoryPage,
  type HistoryStore,
  type NewHistoryMessage,
} from '../agent/history.ts'
import { errorMessage, GatewayError, invalidArgument } from '../errors.ts'
import { checkId } from '../protocol/ids.ts'
import { isObject } from '../protocol/json.ts'
import { requireKnown } from '../util/parse-options.ts'

const DEFAULT_LIMIT = 50
const MOST_LIMIT = 1_000
const MOST_CONTENT = 16 * 1_048_576
/** In characters, each of which is one or two in UTF-16. */
const MOST_ID = 256
/** The year 9999, which the stores can still hold. */
const MOST_TIME = 253_402_300_799_999

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the field and its value. */
export function checkMessages(messages: readonly NewHistoryMessage[]): void {
  if (!Array.isArray(messages)) throw invalidArgument('messages', messages, 'must be an array')
  for (let index = 0; index < messages.length; index += 1) checkMessage(messages[index] as NewHistoryMessage, index)
}

function checkMessage(message: NewHistoryMessage, index: number): void {
  if (typeof message !== 'object' || message === null) {
    throw invalidArgument(`messages.${index}`, message, 'must be an object with role and content')
  }
  const { role, content, messageId, metadata, createdAt, fencingToken } = message
  // No text is made for what is in order: this is on the way of each task.
  if (typeof content === 'string' && content.length <= MOST_CONTENT && HISTORY_ROLES.includes(role)) {
    if (isId(messageId) && isMetadata(metadata) && isTime(createdAt) && isToken(fencingToken)) return
  }
  const at = `messages.${index}`
  if (!HISTORY_ROLES.includes(role))
    throw invalidArgument(`${at}.role`, role, `must be one of ${HISTORY_ROLES.join(', ')}`)
  if (typeof content !== 'string' && (typeof content !== 'object' || content === null || isNothing(content))) {
    throw invalidArgument(`${at}.content`, content, 'must be a text, an array or an object')
  }
  if (typeof content === 'string' && content.length > MOST_CONTENT) {
    throw new GatewayError('GW_PAYLOAD_TOO_LARGE', {
      field: `${at}.content`,
      bytes: content.length,
      limit: MOST_CONTENT,
    })
  }
  if (!isId(messageId)) throw invalidArgument(`${at}.messageId`, messageId, 'must be a text of at most 256 characters')
  if (!isMetadata(metadata)) throw invalidArgument(`${at}.metadata`, metadata, 'must be an object with named members')
  if (!isTime(createdAt)) throw invalidArgument(`${at}.createdAt`, createdAt, 'must be Unix ms')
  if (!isToken(fencingToken)) throw invalidArgument(`${at}.fencingToken`, fencingToken, 'must be a whole number from 0')
}

/** True for what says of itself that there is nothing of it to write down. */
function isNothing(content: object): boolean {
  try {
    return 'toJSON' in content && JSON.stringify(content) === undefined
  } catch {
    return false // what cannot be written is told by whoever writes it, see jsonFault
  }
}

function isId(value: unknown): boolean {
  if (typeof value !== 'string') return value === undefined
  return value.length <= MOST_ID || (value.length <= 2 * MOST_ID && [...value].length <= MOST_ID)
}

function isMetadata(value: unknown): boolean {
  return value === undefined || isObject(value)
}

function isTime(value: unknown): boolean {
  return value === undefined || (typeof value === 'number' && value >= 0 && value <= MOST_TIME)
}

function isToken(value: unknown): boolean {
  return value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0)
}

/** Names what JSON cannot carry, where a store could not write messages; undefined if it is something else. */
export function jsonFault(messages: readonly NewHistoryMessage[]): GatewayError | undefined {
  for (const [index, message] of messages.entries()) {
    for (const part of ['content', 'metadata'] as const) {
      try {
        JSON.stringify(message[part])
      } catch (cause) {
        const details = { field: `messages.${index}.${part}`, reason: errorMessage(cause) }
        return new GatewayError('GW_INVALID_ARGUMENT', details, { cause })
      }
    }
  }
  return undefined
}

const PAGE = { limit: true, before: true } as const

/**
 * The page with its defaults.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the field and its value.
 */
export function checkPage(
  sessionId: string,
  page: HistoryPage = {},
): {
  readonly limit: number
  readonly before: Place | undefined
} {
  checkId('sessionId', sessionId)
  requireKnown(page, PAGE)
  const { limit = DEFAULT_LIMIT, before } = page
  if (!Number.isInteger(limit) || limit < 1 || limit > MOST_LIMIT) {
    throw invalidArgument('limit', limit, `must be a whole number from 1 to ${MOST_LIMIT}`)
  }
  return { limit, before: before === undefined ? undefined : parsePlace(before) }
}

/** Where a message stands in its session: the time, in the unit of its store, and the number of its arrival. */
export interface Place {
  readonly time: string
  readonly number: string
}

/** The place as the `id` of a message. */
export function placeId(time: string | number, number: string | number): HistoryMessage['id'] {
  return `${time}-${number}`
}

function parsePlace(text: unknown): Place {
  const [, time, number] = /^(\d{1,18})-(\d{1,18})$/.exec(String(text)) ?? []
  if (typeof text !== 'string' || time === undefined || number === undefined) {
    throw invalidArgument('before', text, "must be a message's id")
  }
  return { time, number }
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` for what is no history. */
export function checkHistory(history: unknown): HistoryStore {
  const verbs = ['append', 'list', 'clear', 'close']
  const missing = verbs.find((verb) => typeof (history as Record<string, unknown> | null)?.[verb] !== 'function')
  if (missing === undefined) return history as HistoryStore
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'history', reason: `has no method ${missing}` })
}
