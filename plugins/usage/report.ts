/** What one call of a model has used. */
export interface Usage {
  /** '' where it was not said. */
  readonly model: string
  readonly inputTokens: number
  readonly outputTokens: number
  /** In the currency of the prices. */
  readonly cost: number
}

/** Prices of a model, per million tokens. */
export interface Price {
  readonly input: number
  readonly output: number
}

export type Prices = Readonly<Record<string, Price>>

/** How SDKs of models call the same: that of OpenAI (both of its APIs), of Anthropic, of Vercel. */
const INPUT = ['inputTokens', 'input_tokens', 'promptTokens', 'prompt_tokens']
const OUTPUT = ['outputTokens', 'output_tokens', 'completionTokens', 'completion_tokens']
const MILLION = 1_000_000

/**
 * The usage that stands as `usage` in a value (a tool's output, a data event, a result), one or a list of them. The model is
 * that of the usage, or the `model` beside it; a `cost` of the usage's own goes before that by prices.
 */
export function reportedIn(value: unknown, prices: Prices): Usage[] {
  if (!isRecord(value)) return []
  const { usage, model } = value
  const reports = Array.isArray(usage) ? usage : [usage]
  return reports.flatMap((report) => (isRecord(report) ? (toUsage(report, model, prices) ?? []) : []))
}

function toUsage(report: Record<string, unknown>, beside: unknown, prices: Prices): Usage | undefined {
  const inputTokens = amount(report, INPUT)
  const outputTokens = amount(report, OUTPUT)
  const own = amount(report, ['cost'])
  if (inputTokens === undefined && outputTokens === undefined && own === undefined) return undefined
  const model = [report['model'], beside].find((name): name is string => typeof name === 'string') ?? ''
  const tokens = { inputTokens: inputTokens ?? 0, outputTokens: outputTokens ?? 0 }
  return { model, ...tokens, cost: own ?? costOf(tokens, priceOf(model, prices)) }
}

function costOf(tokens: { inputTokens: number; outputTokens: number }, price: Price | undefined): number {
  if (price === undefined) return 0
  return (tokens.inputTokens * price.input + tokens.outputTokens * price.output) / MILLION
}

/** The price of the model itself, or of the longest name with which it begins: `gpt-x` also for `gpt-x-2026-01-01`. */
function priceOf(model: string, prices: Prices): Price | undefined {
  const [name] = Object.keys(prices)
    .filter((known) => model === known || model.startsWith(`${known}-`))
    .sort((a, b) => b.length - a.length)
  return name === undefined ? undefined : prices[name]
}

function amount(report: Record<string, unknown>, names: readonly string[]): number | undefined {
  const value = names.map((name) => report[name]).find((found) => typeof found === 'number')
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
