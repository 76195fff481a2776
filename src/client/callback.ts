import { GatewayError } from '../errors.ts'
import { untilAborted } from '../util/until-aborted.ts'

/** @throws GatewayError `GW_INVALID_ARGUMENT` for what cannot be called. */
export function checkCallback(field: string, value: unknown): void {
  if (value === undefined || typeof value === 'function') return
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason: 'must be a function' })
}

/** Waits for what a callback has begun, unless it is to be left behind. Undefined: there is nothing to wait for. */
export function begun(answer: unknown, signal: AbortSignal): Promise<unknown> | undefined {
  return answer instanceof Promise ? untilAborted(answer, signal) : undefined
}
