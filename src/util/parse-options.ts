import type { z } from 'zod'
import { GatewayError } from '../errors.ts'

/**
 * Checks options once, at the border, and fills in their defaults.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the first option at fault and its value.
 */
export function parseOptions<Options>(schema: z.ZodType<Options>, given: object): Options {
  requireObject('the options', given)
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const field = issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : String(issue?.path[0] ?? 'options')
  const value = (given as Record<string, unknown>)[field]
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason: issue?.message ?? 'not understood' })
}

/**
 * For what takes its arguments by name: says so to those who gave something else, a URL for instance, or nothing.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT`.
 */
export function requireObject(field: string, value: unknown): void {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return
  const reason = `must be an object with named members, not ${value === undefined ? 'left out' : 'this'}`
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason })
}

/**
 * Refuses names that {@link parseOptions} would refuse, at a fraction of its cost.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the first option that there is not, and its value.
 */
export function requireKnown<Options extends object>(
  given: Options,
  known: Readonly<Record<keyof Options & string, true>>,
): void {
  requireObject('the options', given)
  for (const field of Object.keys(given)) {
    if (Object.hasOwn(known, field)) continue
    const reason = `there is no such option, only ${Object.keys(known).join(', ')}`
    const value = (given as Record<string, unknown>)[field]
    throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason })
  }
}
