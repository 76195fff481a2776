/** One entry of a stream: its id and its fields. */
export interface StreamEntry {
  readonly id: string
  readonly fields: ReadonlyMap<string, string>
}

/** An entry as Redis sends it; the fields are null where the entry was deleted while it was pending. */
export type RawEntry = [id: string, fields: string[] | null]

export function parseEntry([id, fields]: RawEntry): StreamEntry {
  const map = new Map<string, string>()
  for (let i = 0; fields !== null && i + 1 < fields.length; i += 2)
    map.set(fields[i] as string, fields[i + 1] as string)
  return { id, fields: map }
}

/** The value of one field of a raw entry, without a map in between. */
export function entryField([, fields]: RawEntry, name: string): string | undefined {
  for (let i = 0; fields !== null && i + 1 < fields.length; i += 2) if (fields[i] === name) return fields[i + 1]
  return undefined
}

/** Orders two entry ids (`<ms>-<seq>`): negative, zero or positive like `a - b`. */
export function compareEntryIds(a: string, b: string): number {
  if (a === b) return 0
  // Of one form and length, as nearly all are, they order like texts.
  if (a.length === b.length && a.indexOf('-') === b.indexOf('-')) return a < b ? -1 : 1
  const [aMs = 0, aSeq = 0] = a.split('-').map(Number)
  const [bMs = 0, bSeq = 0] = b.split('-').map(Number)
  return aMs === bMs ? aSeq - bSeq : aMs - bMs
}

/** An id that lies right before another: nothing stands between the two. */
export function idBefore(id: string): string {
  const [ms = 0, seq = 0] = id.split('-').map(Number)
  return seq > 0 ? `${ms}-${seq - 1}` : `${ms - 1}-${Number.MAX_SAFE_INTEGER}`
}

/** True for `<ms>` and `<ms>-<seq>`. */
export function isEntryId(text: unknown): text is string {
  return typeof text === 'string' && /^\d{1,16}(-\d{1,16})?$/.test(text)
}
