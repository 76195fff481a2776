import type { Random } from '../random.ts'
import type { DurableWork } from '../work.ts'
import type { Act } from './program.ts'

/** How deep calls go at most, below the task that is sent. */
const MOST_DEPTH = 3

const ACT_WEIGHTS: Readonly<Record<Exclude<Act['do'], 'fail' | 'trip'>, number>> = {
  ...{ say: 30, call: 16, all: 6, race: 6, group: 6, send: 3, ask: 6, step: 14, sleep: 6, values: 4 },
}
const LEAF_WEIGHTS = { say: 50, step: 24, sleep: 10, ask: 6, values: 6 } as const

export interface ProgramOptions {
  /** Sleeps and time limits are of its order, so that some outlive a worker. */
  readonly leaseMs: number
}

/** A program for a durable task: the same random numbers make the same one. */
export function planProgram(random: Random, options: ProgramOptions, depth = 0): DurableWork {
  const count = depth === 0 ? random.integer(3, 6) : random.integer(1, 3)
  const acts = Array.from({ length: count }, () => planAct(random, options, depth))
  // Words before the first call are what a replay holds back.
  if (depth === 0) acts.unshift(planSay(random))
  if (random.chance(0.06)) acts.splice(random.integer(0, acts.length), 0, { do: 'trip', times: random.integer(1, 2) })
  if (depth > 0 && random.chance(0.08)) acts.push({ do: 'fail' })
  return { kind: 'durable', acts }
}

function planAct(random: Random, options: ProgramOptions, depth: number): Act {
  const kind = random.weighted(depth < MOST_DEPTH ? ACT_WEIGHTS : (LEAF_WEIGHTS as typeof ACT_WEIGHTS))
  const below = () => planProgram(random, options, depth + 1)
  const some = () => Array.from({ length: random.integer(2, depth === 0 ? 4 : 2) }, below)
  const timeout = () => (random.chance(0.15) ? { timeoutMs: random.integer(20, 3 * options.leaseMs) } : {})
  switch (kind) {
    case 'call':
      return { do: kind, work: below(), ...timeout() }
    case 'all':
      return { do: kind, works: some() }
    case 'race':
      return { do: kind, works: some(), waitsForAll: random.chance(0.5) }
    case 'group':
      return { do: kind, works: some(), failFast: random.chance(0.3) }
    case 'send':
      return { do: kind, work: planProgram(random, options, MOST_DEPTH) }
    case 'ask':
      return { do: kind, ...timeout() }
    case 'step':
      return { ...planSay(random), do: kind, throws: random.chance(0.3) }
    case 'sleep':
      return { do: kind, ms: random.integer(1, 2 * options.leaseMs) }
    case 'values':
      return { do: kind }
    default:
      return planSay(random)
  }
}

function planSay(random: Random): Act & { readonly do: 'say' } {
  return { do: 'say', count: random.integer(1, 12), pauseMs: random.pick([0, 0, 2, 10, 30]) }
}
