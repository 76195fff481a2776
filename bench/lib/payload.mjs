const INDEX_DIGITS = 8

/** What every contender carries unless a row says otherwise. */
export const PAYLOAD_BYTES = 200

const paddings = new Map()

const paddingOf = (bytes) => {
  if (!paddings.has(bytes)) paddings.set(bytes, `:${'x'.repeat(bytes - INDEX_DIGITS - 1)}`)
  return paddings.get(bytes)
}

/** A text of so many bytes which begins with the task's number. */
export const payloadOf = (index, bytes = PAYLOAD_BYTES) => String(index).padStart(INDEX_DIGITS, '0') + paddingOf(bytes)

export const indexOf = (payload) => Number(payload.slice(0, INDEX_DIGITS))
