import { compareEntryIds } from '../redis/streams.ts'
import type { HeldLetter } from './dead-letter.ts'

/** Which dead letters are meant: those of which all that is given is true. */
export interface DeadLetterFilter {
  /** Default all capabilities. */
  readonly capability?: string | undefined
  /** Id of one letter. */
  readonly id?: string | undefined
  readonly sessionId?: string | undefined
  readonly messageId?: string | undefined
  readonly reason?: string | undefined
  /** Part of the detail, whatever its case. */
  readonly text?: string | undefined
  /** Unix ms: letters that came then or later. */
  readonly since?: number | undefined
  /** Unix ms: letters that came then or earlier. */
  readonly until?: number | undefined
}

/** Tells whether a letter is meant, as far as its place on the stream does not: see {@link letterRange}. */
export function letterMatcher({
  sessionId,
  messageId,
  reason,
  text,
}: DeadLetterFilter): (letter: HeldLetter) => boolean {
  const part = text?.toLowerCase()
  return (letter) =>
    (sessionId === undefined || letter.sessionId === sessionId) &&
    (messageId === undefined || letter.messageId === messageId) &&
    (reason === undefined || letter.reason === reason) &&
    (part === undefined || letter.detail.toLowerCase().includes(part))
}

/** Where on its stream a letter can lie; null if nowhere. `newest` is the id of the last one there is. */
export function letterRange(
  { id, since, until }: DeadLetterFilter,
  newest: string,
): { readonly first: string; readonly last: string } | null {
  const first = later(since === undefined ? '0-0' : `${since}-0`, id ?? '0-0')
  const ends = [newest, ...(until === undefined ? [] : [`${until}-${MOST}`]), ...(id === undefined ? [] : [id])]
  const last = ends.reduce((a, b) => (compareEntryIds(a, b) <= 0 ? a : b))
  return compareEntryIds(first, last) <= 0 ? { first, last } : null
}

/** Above any number of an entry within its millisecond, and still an exact number here. */
const MOST = Number.MAX_SAFE_INTEGER

function later(a: string, b: string): string {
  return compareEntryIds(a, b) >= 0 ? a : b
}
