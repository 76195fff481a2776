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
  throw optionFault(parsed.error, given)
}

/** The first fault that was found in options, with its path and its value. */
export function optionFault({ issues: [issue] }: z.ZodError, given: object): GatewayError {
  const { paths, reason } = issue === undefined ? { paths: [], reason: 'not understood' } : placeOf(issue, [])
  const [first = []] = paths
  const value = paths.length > 1 ? undefined : first.reduce(memberOf, given)
  const field = paths.map((path) => path.map(String).join('.')).join(', ') || 'options'
  return new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason })
}

/** Where the parts that are at fault lie, and why they are. */
interface Place {
  readonly paths: readonly (readonly PropertyKey[])[]
  readonly reason: string
}

/** Of alternatives none of which fits, the one that fits furthest tells. */
function placeOf(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): Place {
  const path = [...above, ...issue.path]
  if (issue.code === 'unrecognized_keys') {
    return { paths: issue.keys.map((key) => [...path, key]), reason: issue.message }
  }
  const places = issue.code === 'invalid_union' ? issue.errors.flatMap(([inner]) => inner ?? []) : []
  const [furthest] = places
    .map((inner) => placeOf(inner, path))
    .sort((a, b) => (b.paths[0]?.length ?? 0) - (a.paths[0]?.length ?? 0))
  return furthest ?? { paths: [path], reason: issue.message }
}

function memberOf(value: unknown, key: PropertyKey): unknown {
  return (value as Record<PropertyKey, unknown> | undefined)?.[key]
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
