import { z } from 'zod'
import { errorMessage } from '../errors.ts'
import { capabilityFault } from '../protocol/ids.ts'
import { isOfOneItem } from '../redis/apart.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { DEFAULT_GROUP } from '../store/defaults.ts'
import { ANY_LENGTH, DEFAULT_RETENTION } from '../store/retention.ts'
import { parseOptions } from '../util/parse-options.ts'
import { sleep } from '../util/sleep.ts'
import { MOST_TIMER_MS } from '../util/timer.ts'
import { Abandonment } from './abandonment.ts'
import type { Finding } from './finding.ts'
import { describe, severityOf } from './finding-text.ts'
import { checkDeadLetters, checkLasting, checkLists } from './key-checks.ts'
import { auditTools, Look, type LookScope, type Suspicion } from './look.ts'
import { checkEntries, checkGroups, type Lane } from './stream-checks.ts'
import { checkRecords, checkWaiting, strikeHeldBack } from './task-checks.ts'

/** A consumer is given up after so long; workers remove it after ten minutes, and look once a minute. */
const CONSUMER_IDLE_MS = 900_000

/** How to look, and whether to repair. */
export interface DiagnoseOptions {
  /** Repair what can be repaired. Default false: nothing is written. */
  readonly fix?: boolean | undefined
  /** Only this capability's streams and tasks. Default all. */
  readonly capability?: string | undefined
  /** Most records, and most entries of control streams, that are looked at. Default 100,000. */
  readonly limit?: number | undefined
  /** Time between the two looks, in ms. Default the longest lease of a live worker, 5,000 at least. */
  readonly intervalMs?: number | undefined
  /** The workers' consumer group. Default `agent_engines`. */
  readonly consumerGroup?: string | undefined
}

/** What was found. */
export interface Diagnosis {
  readonly findings: readonly Finding[]
  /** What was left out, or could not be repaired, in full sentences; empty if everything was looked at. */
  readonly notes: readonly string[]
  readonly recordsSeen: number
  readonly entriesSeen: number
}

const schema = z.strictObject({
  fix: z.boolean().default(false),
  capability: z
    .string()
    .refine((value) => capabilityFault(value) === null, { error: ({ input }) => capabilityFault(input) ?? '' })
    .optional(),
  limit: z.number().int().min(1).default(100_000),
  intervalMs: z.number().int().min(1).max(MOST_TIMER_MS).optional(),
  consumerGroup: z.string().min(1).default(DEFAULT_GROUP),
})

/**
 * Looks for what should not be: tasks that nothing will move any more, entries and keys that nobody will remove. A
 * live system is never quite consistent between two commands, so everything is looked at twice, some seconds apart, and
 * only what is the same both times (the same task in the same state, the same entry with the same owner) is told. All
 * walks are bounded pages; no call holds Redis up.
 */
export class Audit {
  readonly #redis: RedisClient
  readonly #keys: Keys
  readonly #abandonment: Abandonment
  readonly #consumerIdleMs: number

  /** @param consumerIdleMs - For tests; default a quarter of an hour. */
  constructor(options: { redis: RedisClient; keys: Keys; consumerIdleMs?: number }) {
    this.#redis = options.redis
    this.#keys = options.keys
    this.#abandonment = new Abandonment(options.redis, options.keys, {
      ...DEFAULT_RETENTION,
      streamMaxLength: ANY_LENGTH,
    })
    this.#consumerIdleMs = options.consumerIdleMs ?? CONSUMER_IDLE_MS
  }

  /**
   * Looks twice, tells what was there both times, and repairs it if asked.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT` that names the option.
   */
  async diagnose(options: DiagnoseOptions = {}): Promise<Diagnosis> {
    const { fix, intervalMs, limit, capability, consumerGroup: group } = parseOptions(schema, options)
    const scope: LookScope = { capability, limit, group, consumerIdleMs: this.#consumerIdleMs }
    const first = await this.#look(scope)
    if (first.suspicions.size === 0) return toDiagnosis(first, [])
    await sleep(intervalMs ?? first.leaseMs)
    const second = await this.#look(scope)
    const findings: Finding[] = []
    for (const [evidence, suspicion] of second.suspicions) {
      if (first.suspicions.has(evidence)) findings.push(await toFinding(suspicion, fix, second.notes))
    }
    return toDiagnosis(second, findings)
  }

  async #look(scope: LookScope): Promise<Look> {
    const tools = auditTools(this.#redis, this.#keys, scope.group)
    const look = await Look.begin({ tools, scope, abandonment: this.#abandonment })
    const { lanes, capabilities } = await walkKeys(look)
    // In this order: what is due goes from the agenda to a stream, and from there it is begun.
    await strikeHeldBack(look)
    for (const lane of lanes.values()) {
      if (look.entries < scope.limit) await checkEntries(look, lane)
      await checkGroups(look, lane)
    }
    checkWaiting(look)
    await checkLists(look, capabilities)
    return look
  }
}

/** One walk over all keys: checks what stands for itself, and finds the control streams. */
async function walkKeys(look: Look): Promise<{ lanes: Map<string, Lane>; capabilities: Set<string> }> {
  const lanes = new Map<string, Lane>()
  const capabilities = new Set<string>()
  const { capability: only, limit } = look.scope
  for await (const found of look.tools.space.walk()) {
    for (const key of found) {
      if (!('capability' in key) || (only ?? key.capability) !== key.capability) continue
      if (key.family === 'control') lanes.set(key.key, key)
      else if (key.family === 'capability') capabilities.add(key.capability)
      else await checkDeadLetters(look, key.key, key.capability)
    }
    if (look.records < limit) await checkRecords(look, found)
    else look.notes.add(`Only ${look.records} records were looked at; raise the limit.`)
    if (only === undefined) await checkLasting(look, found)
  }
  return { lanes, capabilities }
}

async function toFinding({ detail, repair }: Suspicion, fix: boolean, notes: Set<string>): Promise<Finding> {
  const fixed = fix && repair !== undefined && (await mend(repair, notes))
  return { ...detail, severity: severityOf(detail), ...describe(detail), fixable: repair !== undefined, fixed }
}

/** A key of another kind is in the way of its own repair; what else was repaired is to be told all the same. */
async function mend(repair: () => Promise<boolean>, notes: Set<string>): Promise<boolean> {
  try {
    return await repair()
  } catch (error) {
    if (!isOfOneItem(error)) throw error
    notes.add(`Something could not be repaired. ${errorMessage(error)}`)
    return false
  }
}

function toDiagnosis({ notes, records, entries }: Look, findings: readonly Finding[]): Diagnosis {
  return { findings, notes: [...notes], recordsSeen: records, entriesSeen: entries }
}
