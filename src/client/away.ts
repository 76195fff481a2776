import { GatewayError } from '../errors.ts'
import { isOfOneItem } from '../redis/apart.ts'
import { isForbidden } from '../redis/patience.ts'

/** Pause before a server that is away is asked again. */
export const AWAY_MS = 500

/** True if the server could not be asked, or has no answer for now. */
export function isAway(error: unknown): boolean {
  if (!(error instanceof GatewayError) || error.code !== 'GW_REDIS_FAILED') return false
  return !isOfOneItem(error) && !isForbidden(error.cause)
}
