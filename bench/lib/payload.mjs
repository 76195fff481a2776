const INDEX_DIGITS = 8
const PAYLOAD_BYTES = 200
const padding = `:${'x'.repeat(PAYLOAD_BYTES - INDEX_DIGITS - 1)}`

/** The text every contender carries: 200 bytes which begin with the task's number. */
export const payloadOf = (index) => String(index).padStart(INDEX_DIGITS, '0') + padding

export const indexOf = (payload) => Number(payload.slice(0, INDEX_DIGITS))
