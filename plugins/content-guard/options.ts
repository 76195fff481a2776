import { z } from 'zod'
import { type CompiledRule, compile, RULES, type Rule, type RuleName } from './rules.ts'

/** What a guard lets through. */
export interface ContentGuardOptions {
  /** What must not be shown: names of built-in rules, or rules of your own. Default all built-in ones. */
  readonly redact?: readonly (RuleName | Rule)[]
  /** Longest run of characters that is recognised although it is split over chunks. Default 128. */
  readonly longestMatch?: number
  /** Most characters of text in one attempt of a task; what comes after is left out. Default no limit. */
  readonly maxTextLength?: number
  /** Stands where text was cut off. Default ` […]`. */
  readonly cutMark?: string
  /** Most bytes of a data event or an artifact, as JSON; a larger one is refused. Default 256 KiB. */
  readonly maxEventBytes?: number
  /** Default `content-guard`. */
  readonly pluginId?: string
}

export interface ResolvedGuardOptions {
  readonly rules: readonly CompiledRule[]
  readonly longestMatch: number
  readonly maxTextLength: number
  readonly cutMark: string
  readonly maxEventBytes: number
  readonly pluginId: string
}

const rule = z.strictObject({
  name: z.string().min(1),
  pattern: z.instanceof(RegExp),
  beginning: z.instanceof(RegExp).optional(),
  replacement: z.string().optional(),
  accept: z.custom<Rule['accept']>((value) => typeof value === 'function', 'must be a function').optional(),
})
const names = Object.keys(RULES) as RuleName[]
const schema = z.strictObject({
  redact: z.array(z.union([z.enum(names), rule])).default(names),
  longestMatch: z.number().int().min(16).max(4_096).default(128),
  maxTextLength: z.number().int().min(1).default(Number.MAX_SAFE_INTEGER),
  cutMark: z.string().default(' […]'),
  maxEventBytes: z.number().int().min(1).default(262_144),
  pluginId: z.string().default('content-guard'),
})

/** @throws Error that names the option. */
export function resolveOptions(options: ContentGuardOptions): ResolvedGuardOptions {
  const parsed = schema.safeParse(options)
  if (!parsed.success) throw new Error(`content-guard: ${z.prettifyError(parsed.error)}`)
  const { redact, ...rest } = parsed.data
  return { ...rest, rules: redact.map((one) => compile(typeof one === 'string' ? RULES[one] : one)) }
}
