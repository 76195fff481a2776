import { z } from 'zod'
import { MOST_TIMER_MS } from '../util/timer.ts'

/** How long to wait before the next attempt. Delays are in ms; `jitter` is the part of a delay that is left to chance. */
export type BackoffRule =
  | { readonly type: 'fixed'; readonly delayMs: number; readonly jitter?: number | undefined }
  | {
      readonly type: 'exponential'
      /** Before the second attempt; doubled before each further one. */
      readonly delayMs: number
      /** Not below `delayMs`. Default 60,000, or `delayMs` where that is more. */
      readonly maxDelayMs?: number | undefined
      readonly jitter?: number | undefined
    }

/** Parts of a retry policy; what is left out comes from the next one up: message, capability, worker. */
export interface RetryRule {
  /** How often the task may be tried in all. */
  readonly maxAttempts?: number | undefined
  readonly backoff?: BackoffRule | undefined
}

/** What a sender wants of one task beyond its content. Travels in the header's metadata, under `gateway_options`. */
export interface TaskOptions {
  /** An attempt that runs longer is aborted and counts as failed, in ms. */
  readonly timeoutMs?: number | undefined
  readonly retry?: RetryRule | undefined
  /** The task ends as EXPIRED if it has not started after so long, in ms. */
  readonly expiresInMs?: number | undefined
}

/** Longest time that may be asked for, in ms: a year. */
export const LONGEST_MS = 31_536_000_000
const delay = z.number().min(0).max(LONGEST_MS)
const jitter = z.number().min(0).max(1).optional()
/** What a timer of Node can wait for. */
const timer = z.number().int().min(1).max(MOST_TIMER_MS)

export const backoffRule = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('fixed'), delayMs: delay, jitter }),
  z
    .strictObject({ type: z.literal('exponential'), delayMs: delay, maxDelayMs: delay.optional(), jitter })
    .refine(({ delayMs, maxDelayMs }) => maxDelayMs === undefined || maxDelayMs >= delayMs, {
      path: ['maxDelayMs'],
      error: 'must not be below delayMs',
    }),
])

export const maxAttempts = z.number().int().min(1).max(1_000)

/** The options as a sender gives them. */
export const taskOptions = z.strictObject({
  timeoutMs: timer.optional(),
  retry: z.strictObject({ maxAttempts: maxAttempts.optional(), backoff: backoffRule.optional() }).optional(),
  expiresInMs: delay.min(1).optional(),
})

/** Key of the options inside a header's metadata. */
export const TASK_OPTIONS_KEY = 'gateway_options'

/** Members by name, all of which arrive: zod drops one of the name `__proto__` and says nothing. */
export const members = z
  .unknown()
  .refine(
    (value) => typeof value !== 'object' || value === null || !Object.hasOwn(value, '__proto__'),
    "may have no member of its own named '__proto__'",
  )
  .pipe(z.record(z.string(), z.unknown()))

/** What a sender may say besides, handed to the agent as it is. */
export const metadata = members.refine(
  (value) => !Object.hasOwn(value, TASK_OPTIONS_KEY),
  `may have no member of its own named '${TASK_OPTIONS_KEY}'`,
)

const wireBackoff = z.object({
  type: z.enum(['fixed', 'exponential']),
  delay_ms: delay,
  max_delay_ms: delay.optional(),
  jitter,
})

const wireOptions = z.object({
  timeout_ms: timer.optional(),
  retry: z.object({ max_attempts: maxAttempts.optional(), backoff: wireBackoff.optional() }).optional(),
  expires_in_ms: delay.min(1).optional(),
})

export function taskOptionsToWire({ timeoutMs, retry, expiresInMs }: TaskOptions): Record<string, unknown> {
  return { timeout_ms: timeoutMs, retry: retry && retryToWire(retry), expires_in_ms: expiresInMs }
}

function retryToWire({ maxAttempts: most, backoff }: RetryRule): Record<string, unknown> {
  if (backoff === undefined) return { max_attempts: most }
  const { type, delayMs, jitter: part } = backoff
  const maxDelayMs = backoff.type === 'exponential' ? backoff.maxDelayMs : undefined
  return { max_attempts: most, backoff: { type, delay_ms: delayMs, max_delay_ms: maxDelayMs, jitter: part } }
}

/** The options of a received header, or the reason why they are none, with the path of the field. */
export function taskOptionsFromWire(value: unknown): TaskOptions | { readonly fault: string } {
  const parsed = wireOptions.safeParse(value)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    return { fault: `${['metadata', TASK_OPTIONS_KEY, ...(issue?.path ?? [])].join('.')}: ${issue?.message}` }
  }
  const { timeout_ms: timeoutMs, retry, expires_in_ms: expiresInMs } = parsed.data
  return { timeoutMs, expiresInMs, retry: retry && retryFromWire(retry) }
}

function retryFromWire({ max_attempts, backoff }: NonNullable<z.infer<typeof wireOptions>['retry']>): RetryRule {
  if (backoff === undefined) return { maxAttempts: max_attempts }
  const { type, delay_ms: delayMs, max_delay_ms: maxDelayMs, jitter: part } = backoff
  const rule: BackoffRule =
    type === 'fixed' ? { type, delayMs, jitter: part } : { type, delayMs, maxDelayMs, jitter: part }
  return { maxAttempts: max_attempts, backoff: rule }
}
