import { types } from 'node:util'

/** Anything JSON can carry. */
export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue }

export type JsonObject = Record<string, unknown>

/** Parses JSON; what is none is a value here, not an exception. */
export function parseJson(text: string): { ok: true; value: unknown } | { ok: false; reason: string } {
  try {
    return { ok: true, value: JSON.parse(text) }
  } catch (error) {
    return { ok: false, reason: error instanceof Error ? error.message : String(error) }
  }
}

/** True for objects that are neither null nor arrays. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Why JSON would lose a value without a word, or null if it does not: it passes over some, and of others keeps an object
 * with nothing in it. Only the value itself is looked at, not what it holds.
 */
export function lossInJson(value: unknown): string | null {
  const kind = typeof value
  if (kind === 'symbol') return 'JSON cannot carry a symbol'
  if ((kind !== 'object' && kind !== 'function') || value === null || 'toJSON' in (value as object)) return null
  if (kind === 'function') return 'JSON cannot carry a function'
  if (types.isNativeError(value)) return 'JSON keeps nothing of an Error'
  if (types.isMap(value)) return 'JSON keeps nothing of a Map'
  return types.isSet(value) ? 'JSON keeps nothing of a Set' : null
}
