import { hash } from 'node:crypto'
import { errorMessage, GatewayError } from '../../errors.ts'
import { isObject } from '../../protocol/json.ts'

const MOST_SHOWN = 300

/** JSON whose text does not depend on the order of an object's keys. */
function stableJson(value: unknown): string {
  // First, since what is no JSON, a cycle for instance, may not be walked through.
  const text = JSON.stringify(value) ?? 'null'
  if (isStable(value)) return text
  return (
    JSON.stringify(value, (_, part: unknown) => {
      if (typeof part !== 'object' || part === null || Array.isArray(part)) return part
      return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
    }) ?? 'null'
  )
}

/** True for what `JSON.stringify` writes in a stable order by itself, as it does for most. */
function isStable(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isStable)
  if (!isObject(value)) return true
  if ('toJSON' in value) return false
  let last = ''
  for (const key of Object.keys(value)) {
    if (key < last || !isStable(value[key])) return false
    last = key
  }
  return true
}

/** Arguments of an operation, for telling equal from different, and for people. */
export interface Fingerprint {
  readonly hash: string
  /** The beginning of the arguments as JSON. */
  readonly shown: string
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` for what JSON cannot carry: the next run could not be compared with it. */
export function fingerprint(args: unknown): Fingerprint {
  let text: string
  try {
    text = stableJson(args)
  } catch (cause) {
    const reason = errorMessage(cause)
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'the arguments of a durable call', reason }, { cause })
  }
  const shown = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text
  return { hash: hash('sha256', text, 'base64url').slice(0, 16), shown }
}

/** Hexadecimal digits that depend on all parts, the same in every process. */
export function digest(...parts: readonly string[]): string {
  return hash('sha256', parts.join('\n'), 'hex')
}
