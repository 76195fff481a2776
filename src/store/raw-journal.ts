/** A journal as it lies in Redis. */
export interface RawJournal {
  /** Redis' time, Unix ms. */
  readonly now: number
  readonly fields: ReadonlyMap<string, string>
}

/** @param flat - Fields and values in turn. */
export function toRawJournal(now: number, flat: readonly string[]): RawJournal {
  return { now, fields: toFields(flat) }
}

/** @param flat - Fields and values in turn. */
function toFields(flat: readonly string[]): RawJournal['fields'] {
  const fields = new Map<string, string>()
  for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] as string, flat[i + 1] as string)
  return fields
}
