import { parseJson } from '../protocol/json.ts'

/** A recorded result, taken apart. */
export interface RecordedResult {
  /** Results come in this order. */
  readonly order: number
  /** The attempt during which it came. */
  readonly attempt: number
  /** Its short form only, if it is elsewhere. */
  readonly value: unknown
  /** It is large, and still to be read: see `Journals.results`. */
  readonly isElsewhere: boolean
}

/** True for a recorded result that is large and must be read from elsewhere. */
export function isElsewhere(text: string): boolean {
  return /^\d+ \d+ @/.test(text)
}

export function parseResult(text: string): RecordedResult {
  const [order = '0', attempt = '0'] = text.split(' ', 2)
  const isShort = isElsewhere(text)
  const json = parseJson(text.slice(order.length + attempt.length + (isShort ? 3 : 2)))
  return { order: Number(order), attempt: Number(attempt), value: json.ok ? json.value : null, isElsewhere: isShort }
}
