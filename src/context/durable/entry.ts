import { isObject, parseJson } from '../../protocol/json.ts'
import type { Fingerprint } from './args.ts'

/** What a journal keeps of an operation. */
export interface Entry {
  readonly kind: string
  readonly name: string
  readonly hash: string
  /** The beginning of its arguments. */
  readonly shown: string
  /** When it was opened, Unix ms by Redis' clock. */
  readonly openedAt: number
  /** Where the session's stream ended then, if that was asked for. */
  readonly after: string
}

/** An operation that a handler asks for. */
export interface Request extends Fingerprint {
  readonly scope: string
  readonly kind: string
  readonly name: string
  readonly ordinal: number
}

/** An entry, and whether this run has asked for it. */
export interface Slot {
  readonly entry: Entry
  used: boolean
}

/** The kind of the operations that say which changes in place a task goes along with. */
export const PATCH = 'patch'

/** How the key of an operation goes on behind that of the scope in which it is. */
const INNER = String.raw`\/(?:(?:step|call|ask|sleep|tool|now|random|uuid):|group#)`
const BEGINS_INNER = new RegExp(`^${INNER}`)
/** Where a name looks as if a key ended in it, and that of an operation inside began. */
const LIKE_KEYS = new RegExp(String.raw`#\d+(?:~\d+|\[\d+\])?\\*(?=${INNER})`, 'g')

/** No two operations have the same, whatever their names are. */
export function operationKey(scope: string, kind: string, name: string, ordinal: number): string {
  const own = name.includes('#') ? name.replace(LIKE_KEYS, '$&\\') : name
  return `${scope}/${kind}:${own}#${ordinal}`
}

/** True for the key of an operation in a scope; a name may hold a slash, too. */
export function isInside(scope: string, key: string): boolean {
  return key.startsWith(scope) && BEGINS_INNER.test(key.slice(scope.length))
}

/** Of an operation that failed in an earlier attempt and is begun again in this one. */
export function keyAgain(key: string, attempt: number): string {
  return `${key}~${attempt}`
}

export function parseEntry(text: string): Entry {
  const space = text.indexOf(' ')
  const [openedAt = '0', after = ''] = text.slice(0, space).split('@')
  const json = parseJson(text.slice(space + 1))
  const { k, m, h, a } = json.ok && isObject(json.value) ? json.value : {}
  const about = { kind: String(k), name: String(m), hash: String(h), shown: String(a) }
  return { openedAt: Number(openedAt), after, ...about }
}

/**
 * Results of called agents and of questions say by `s` how they came about; C is completion, A an answer. Those of steps and
 * tools say it only where they failed.
 */
export function isFailure(value: unknown): boolean {
  return isObject(value) && typeof value.s === 'string' && value.s !== 'C' && value.s !== 'A'
}
