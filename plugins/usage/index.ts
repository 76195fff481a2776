import { type BuildContext, type HookEvents, Plugin, type TaskFacts } from 'byclaw-gateway-sdk'
import { z } from 'zod'
import { type Prices, reportedIn, type Usage } from './report.ts'
import { MemoryUsage, RedisUsage, type Scope, type UsageStore, type UsageTotal } from './store.ts'

export type { Price, Prices, Usage } from './report.ts'
export { MemoryUsage, type Scope, type UsageRecord, type UsageStore, type UsageTotal } from './store.ts'

/** How usage is priced and where it is kept. */
export interface UsageOptions {
  /** Per million tokens, by model. A model without a price costs nothing. */
  readonly prices?: Prices
  /** URL of the Redis in which all workers add up; without it each keeps its own. */
  readonly redis?: string | undefined
  /** First part of the keys there. Default `usage`. */
  readonly keyPrefix?: string
  /** How long a total is kept there after its last report, in ms. Default 90 days. */
  readonly ttlMs?: number
  /** In place of both: a store of your own. */
  readonly store?: UsageStore
  /** Told of each report, once it is stored; a promise that it returns is waited for. */
  readonly onUsage?: (usage: Usage, task: TaskFacts) => void
}

const price = z.strictObject({ input: z.number().min(0), output: z.number().min(0) })
const schema = z.strictObject({
  prices: z.record(z.string(), price).default({}),
  redis: z.string().min(1).optional(),
  keyPrefix: z.string().min(1).default('usage'),
  ttlMs: z
    .number()
    .int()
    .min(1_000)
    .default(90 * 86_400_000),
  store: z.custom<UsageStore>((value) => typeof value === 'object' && value !== null).optional(),
  onUsage: z.custom<UsageOptions['onUsage']>((value) => typeof value === 'function').optional(),
})

/** Adds up what models have used, as tools and handlers report it. */
export class UsagePlugin extends Plugin {
  readonly manifest = {
    ...{ pluginId: 'usage', version: '0.1.0', name: 'Usage' },
    description: 'Tokens and cost by session, user, agent, model and day',
  }
  readonly #options: z.infer<typeof schema>
  #store: UsageStore
  #logger: BuildContext['logger'] | undefined
  /** Registrations that were not unloaded yet, also of workers that did not come to start. */
  #users = 0
  #isOpen = false

  constructor(options: UsageOptions = {}) {
    super()
    const parsed = schema.safeParse(options)
    if (!parsed.success) throw new Error(`usage: ${z.prettifyError(parsed.error)}`)
    const { store, redis } = parsed.data
    if (store !== undefined && redis !== undefined) throw new Error('usage: only one of store and redis can be given')
    this.#options = parsed.data
    this.#store = store ?? new MemoryUsage()
  }

  /** All usage of a session, a user, an agent type, a model, or a day (`2026-01-31`, UTC). */
  total(scope: Scope, id: string): Promise<UsageTotal> {
    return this.#store.read(scope, id)
  }

  override registerAgentConfigs({ logger }: BuildContext) {
    this.#users += 1
    this.#logger = logger
    return []
  }

  override onWorkerStartup(): void {
    const { redis: url, keyPrefix, ttlMs } = this.#options
    if (url === undefined || this.#isOpen) return
    this.#isOpen = true
    const onError = (error: Error) => this.#logger?.warn({ err: error }, 'usage: Redis cannot be reached')
    this.#store = new RedisUsage({ url, keyPrefix, ttlMs, onError })
  }

  override onToolCall(event: HookEvents['onToolCall']): Promise<void> | undefined {
    return event.status === 'ok' ? this.#add(event.output, event.task) : undefined
  }

  override onEvent({ event, task, replayed }: HookEvents['onEvent']): Promise<void> | undefined {
    return event.type === 'data' && !replayed ? this.#add(event.data, task) : undefined
  }

  override onTaskComplete({ result, task }: HookEvents['onTaskComplete']): Promise<void> | undefined {
    return this.#add(result, task)
  }

  override async onUnload(): Promise<void> {
    this.#users = Math.max(0, this.#users - 1)
    if (this.#users > 0) return
    this.#isOpen = false
    await this.#store.close()
  }

  #add(value: unknown, task: TaskFacts): Promise<void> | undefined {
    const reported = reportedIn(value, this.#options.prices)
    return reported.length === 0 ? undefined : this.#keep(reported, task)
  }

  async #keep(reported: readonly Usage[], task: TaskFacts): Promise<void> {
    const failures: unknown[] = []
    for (const usage of reported) {
      try {
        await this.#keepOne(usage, task)
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 1) throw new AggregateError(failures, failures.map(messageOf).join('; '))
    if (failures.length > 0) throw failures[0]
  }

  async #keepOne(usage: Usage, task: TaskFacts): Promise<void> {
    const scopes: [Scope, string][] = [
      ['session', task.sessionId],
      ['user', task.userCode],
      ['agent', task.agentType],
      ['model', usage.model],
      ['day', new Date().toISOString().slice(0, 10)],
    ]
    await this.#store.add({ ...usage, scopes: scopes.filter(([, id]) => id !== '') })
    await this.#options.onUsage?.(usage, task)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Makes the plugin; see the README for what it takes. */
export function usagePlugin(options: UsageOptions = {}): UsagePlugin {
  return new UsagePlugin(options)
}

/** Adds up in the Redis of `BYCLAW_USAGE_REDIS`, if that is set. */
export default class ConfiguredUsagePlugin extends UsagePlugin {
  constructor() {
    super({ redis: process.env['BYCLAW_USAGE_REDIS'] })
  }
}
