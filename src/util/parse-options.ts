import type { z } from 'zod'
import { GatewayError } from '../errors.ts'

/**
 * Checks options once, at the border, and fills in their defaults.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the first option at fault and its value.
 */
export function parseOptions<Options>(schema: z.ZodType<Options>, given: object): Options {
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const field = issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : String(issue?.path[0] ?? 'options')
  const value = (given as Record<string, unknown>)[field]
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason: issue?.message ?? 'not understood' })
}
