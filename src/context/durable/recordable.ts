import { errorMessage, GatewayError, invalidArgument } from '../../errors.ts'
import { isObject, lossInJson } from '../../protocol/json.ts'
import type { RecordedResult } from '../../store/recorded-result.ts'
import type { DurableTask } from './durable-task.ts'
import { isFailure } from './entry.ts'
import { fromThrown, toThrown } from './thrown.ts'

const MOST_BYTES = 1_048_576

/** How code came to its end, as it is recorded; and what it threw. */
export interface Outcome {
  readonly recorded: { readonly v: unknown; readonly s?: 'F' }
  readonly failure?: { readonly error: unknown }
}

/**
 * Runs code whose end is to be recorded.
 *
 * @param key - Of its operation.
 * @throws what it throws when its attempt is broken off: that may be a consequence, and says nothing of another run.
 */
export async function outcomeOf(task: DurableTask, key: string, run: () => unknown): Promise<Outcome> {
  try {
    return { recorded: { v: recordable(key, await run()) } }
  } catch (error) {
    if (task.isBrokenOff) throw error
    return { recorded: { s: 'F', v: toThrown(error) }, failure: { error } }
  }
}

/**
 * A value as JSON can record it.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` for what JSON cannot carry, `GW_PAYLOAD_TOO_LARGE` for more than 1 MiB.
 */
function recordable(key: string, value: unknown): unknown {
  const loss = lossInJson(value)
  if (loss !== null) throw invalidArgument(`the result of ${key}`, value, loss)
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

/**
 * What was recorded beside what is told of it, as JSON has it.
 *
 * @param failure - What was thrown, in the run in which it was.
 * @throws what was thrown.
 */
export function recordedValue({ value }: RecordedResult, failure?: Outcome['failure']): unknown {
  if (failure !== undefined) throw failure.error
  if (!isObject(value)) return null
  if (isFailure(value)) throw fromThrown(value.v)
  return value.v
}
