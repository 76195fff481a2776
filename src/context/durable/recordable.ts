import { errorMessage, GatewayError } from '../../errors.ts'
import { isObject } from '../../protocol/json.ts'
import type { RecordedResult } from '../../store/recorded-result.ts'

const MOST_BYTES = 1_048_576

/**
 * A value as JSON can record it.
 *
 * @param key - Of its operation.
 * @throws GatewayError `GW_INVALID_ARGUMENT` for what JSON cannot carry, `GW_PAYLOAD_TOO_LARGE` for more than 1 MiB.
 */
export function recordable(key: string, value: unknown): unknown {
  let text: string
  try {
    text = JSON.stringify(value ?? null) ?? 'null'
  } catch (cause) {
    const reason = errorMessage(cause)
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: `the result of ${key}`, reason }, { cause })
  }
  const bytes = Buffer.byteLength(text)
  if (bytes > MOST_BYTES) {
    throw new GatewayError('GW_PAYLOAD_TOO_LARGE', { field: `the result of ${key}`, bytes, limit: MOST_BYTES })
  }
  return value ?? null
}

/** What was recorded beside what is told of it, as JSON has it. */
export function recordedValue({ value }: RecordedResult): unknown {
  return isObject(value) ? value.v : null
}
