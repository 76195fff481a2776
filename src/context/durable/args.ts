import { createHash } from 'node:crypto'

const MOST_SHOWN = 300

/** JSON whose text does not depend on the order of an object's keys. */
function stableJson(value: unknown): string {
  return (
    JSON.stringify(value, (_, part: unknown) => {
      if (typeof part !== 'object' || part === null || Array.isArray(part)) return part
      return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
    }) ?? 'null'
  )
}

/** Arguments of an operation, for telling equal from different, and for people. */
export interface Fingerprint {
  readonly hash: string
  /** The beginning of the arguments as JSON. */
  readonly shown: string
}

export function fingerprint(args: unknown): Fingerprint {
  const text = stableJson(args)
  const shown = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text
  return { hash: digest(text).toString('base64url').slice(0, 16), shown }
}

/** Bytes that depend on all parts, the same in every process. */
export function digest(...parts: readonly string[]): Buffer {
  return createHash('sha256').update(parts.join('\n')).digest()
}
