import { planProgram } from './durable/plan-program.ts'
import { Random } from './random.ts'
import type { Work, WorkKind } from './work.ts'

/** The trouble a run can make. */
export const FAULTS = [
  /** SIGKILL to a worker, which comes back under its id. */
  'kill',
  /** SIGSTOP to a worker for longer than its lease, then SIGCONT. */
  'stop',
  /** SIGSTOP to a worker, another process takes its id, then SIGCONT to the first. */
  'usurp',
  /** SIGTERM to one worker after the other, each comes back. */
  'roll',
  /** The connections of a worker are reset. */
  'cut',
  /** The connections of a worker stay open and carry nothing. */
  'hole',
  /** What a worker says is carried out, and it hears no answer. */
  'mute',
  /** The network of a worker is slow. */
  'lag',
  /** The same four for those who send and read. */
  'client-cut',
  'client-hole',
  'client-mute',
  'client-lag',
  /** SIGKILL to Redis, which comes back with its append-only file. */
  'redis-kill',
  /** SIGSTOP to Redis, then SIGCONT. */
  'redis-stop',
  /** Redis has no memory for writes. */
  'redis-full',
  /** Redis forgets its scripts. */
  'redis-forget',
  /** Redis and its replica change places. */
  'redis-failover',
] as const

export type FaultKind = (typeof FAULTS)[number]

export interface FaultPlan {
  readonly atMs: number
  readonly kind: FaultKind
  /** Index of the worker, if it is about one. */
  readonly worker: number
  /** How long it lasts, if it lasts. */
  readonly durationMs: number
}

export interface TaskPlan {
  readonly task: string
  readonly session: string
  readonly atMs: number
  readonly work: Work
  /** Sent once more under the same id, this much later. */
  readonly againAfterMs?: number
  /** A send that was answered by an error is sent again until it is accepted. */
  readonly persistent: boolean
  readonly cancelAfterMs?: number
  readonly cancelMode?: 'graceful' | 'force'
  readonly delayMs?: number
  readonly expiresInMs?: number
  readonly priority?: 'high' | 'normal' | 'low'
  /** Somebody waits for the result from this long after the send on. */
  readonly awaitAfterMs?: number
}

export interface ReaderPlan {
  readonly reader: string
  readonly session: string
  /** Follows one task and ends with it; else the session until the end of the run. */
  readonly task?: string
  readonly atMs: number
  /** Leaves after so many events and comes back where it was. */
  readonly leavesAfter?: number
}

/** All that happens in a run, when. The same options give the same plan. */
export interface Plan {
  readonly tasks: readonly TaskPlan[]
  readonly faults: readonly FaultPlan[]
  readonly readers: readonly ReaderPlan[]
  /** When bytes that are no command are put on the control stream. */
  readonly poisonsAtMs: readonly number[]
}

/** What the tasks of a run do: call and ask, keep to themselves, or both; or short ones that come many at a time, with some long ones among them. */
export const WORKLOADS = ['mixed', 'durable', 'plain', 'bursts'] as const

export type Workload = (typeof WORKLOADS)[number]

export interface PlanOptions {
  readonly seed: number
  readonly seconds: number
  readonly tasks: number
  readonly workers: number
  readonly leaseMs: number
  readonly only: readonly FaultKind[]
  /** Redis has a replica. Default false. */
  readonly isPair?: boolean
  /** Mean time between two faults. */
  readonly faultEveryMs: number
  readonly workload: Workload
  /** Workers read the lanes of urgent and of less urgent tasks. */
  readonly lanes: boolean
}

const FAULT_WEIGHTS: Readonly<Record<FaultKind, number>> = {
  ...{ kill: 24, stop: 16, usurp: 5, roll: 4, cut: 18, hole: 8, mute: 8, lag: 6 },
  ...{ 'client-cut': 8, 'client-hole': 3, 'client-mute': 3, 'client-lag': 3 },
  ...{ 'redis-kill': 4, 'redis-stop': 4, 'redis-full': 4, 'redis-forget': 2, 'redis-failover': 8 },
}

const PLAIN_WEIGHTS = { quick: 40, chunks: 36, long: 8, deaf: 3, cpu: 1.5, flaky: 5, fail: 3, terminal: 2, killer: 0.4 }

const WORK_WEIGHTS: Readonly<Record<Workload, Partial<Readonly<Record<WorkKind, number>>>>> = {
  mixed: { ...PLAIN_WEIGHTS, durable: 8 },
  durable: { durable: 1 },
  plain: PLAIN_WEIGHTS,
  bursts: { quick: 95, chunks: 2, long: 1, cpu: 0.3, flaky: 1, terminal: 0.7 },
}

/** Between two bursts, if tasks come in such. */
const BURST_EVERY_MS = 1_500

/** The last part of a run brings neither tasks nor faults: what is under way then can still be disturbed by neither. */
const BUSY_SHARE = 0.92
const SESSIONS_PER_TASK: Readonly<Record<Workload, number>> = { mixed: 1 / 6, durable: 1, plain: 1 / 6, bursts: 1 / 50 }

export function makePlan(options: PlanOptions): Plan {
  const tasks = planTasks(options)
  return { tasks, faults: planFaults(options), readers: planReaders(options, tasks), poisonsAtMs: planPoisons(options) }
}

function busyMs({ seconds }: PlanOptions): number {
  return seconds * 1_000 * BUSY_SHARE
}

function planTasks(options: PlanOptions): TaskPlan[] {
  const sessions = Math.max(1, Math.round(options.tasks * SESSIONS_PER_TASK[options.workload]))
  return Array.from({ length: options.tasks }, (_, index) => {
    const random = new Random(options.seed, `task ${index}`)
    const work = planWork(random, options)
    return {
      task: `t${index}`,
      session: `s${random.integer(1, sessions)}`,
      atMs: planMoment(random.next() * busyMs(options), options),
      work,
      persistent: random.chance(0.9),
      ...(random.chance(0.05) ? { againAfterMs: random.integer(0, 4_000) } : {}),
      ...(random.chance(0.1) ? { awaitAfterMs: random.integer(0, 2_000) } : {}),
      ...planLifecycle(random, options),
    }
  })
}

function planMoment(ms: number, { workload }: PlanOptions): number {
  return workload === 'bursts' ? Math.floor(ms / BURST_EVERY_MS) * BURST_EVERY_MS : Math.round(ms)
}

function planWork(random: Random, { leaseMs, workload }: PlanOptions): Work {
  const kind = random.weighted(WORK_WEIGHTS[workload] as Readonly<Record<WorkKind, number>>)
  const count = random.integer(1, 8)
  // From half a lease to three of them.
  const pauseMs = Math.round((leaseMs * (0.5 + random.next() * 2.5)) / count)
  switch (kind) {
    case 'quick':
      return { kind }
    case 'chunks':
      return { kind, count: random.integer(1, 20), pauseMs: random.pick([0, 0, 5, 20, 50]) }
    case 'long':
    case 'deaf':
      return { kind, count, pauseMs }
    case 'cpu':
      return { kind, ms: random.integer(100, Math.round(leaseMs * 1.5)) }
    case 'flaky':
    case 'killer':
      return { kind, count, times: random.integer(1, 3) }
    case 'durable':
      return planProgram(random, { leaseMs })
    default:
      return { kind, count }
  }
}

function planLifecycle(random: Random, { lanes }: PlanOptions): Partial<TaskPlan> {
  const cancels = random.chance(0.12) ? { cancelAfterMs: random.pick([0, 0, 1, 5, 50, 300, 1_500]) } : {}
  const mode = random.pick(['graceful', 'force'] as const)
  const priority = random.pick(['high', 'normal', 'normal', 'normal', 'low'] as const)
  return {
    ...(lanes ? { priority } : {}),
    ...(cancels.cancelAfterMs === undefined ? {} : { ...cancels, cancelMode: mode }),
    ...(random.chance(0.1) ? { delayMs: random.integer(1, 3_000) } : {}),
    ...(random.chance(0.04) ? { expiresInMs: random.integer(50, 4_000) } : {}),
  }
}

function planReaders(options: PlanOptions, tasks: readonly TaskPlan[]): ReaderPlan[] {
  const random = new Random(options.seed, 'readers')
  const followers = new Map<string, ReaderPlan>()
  const others: ReaderPlan[] = []
  for (const { task, session, atMs } of tasks) {
    const leavesAfter = random.chance(0.5) ? { leavesAfter: random.integer(1, 40) } : {}
    if (random.chance(0.15)) others.push({ reader: `${session}/${task}`, session, task, atMs, ...leavesAfter })
    const since = random.integer(0, options.seconds * 500)
    if (!followers.has(session)) followers.set(session, { reader: session, session, atMs: since, ...leavesAfter })
  }
  return [...followers.values(), ...others]
}

function planFaults(options: PlanOptions): FaultPlan[] {
  const random = new Random(options.seed, 'faults')
  const faults: FaultPlan[] = []
  const all = FAULTS.filter((kind) => kind !== 'redis-failover' || options.isPair)
  const wanted = options.only.length === 0 ? all : options.only
  const weights = Object.fromEntries(wanted.map((kind) => [kind, FAULT_WEIGHTS[kind]])) as Record<FaultKind, number>
  // The workers come up first.
  for (let atMs = 500; ; ) {
    atMs += Math.round(random.pause(options.faultEveryMs))
    if (atMs > busyMs(options)) return faults
    const kind = random.weighted(weights)
    faults.push({
      atMs,
      kind,
      worker: random.integer(0, options.workers - 1),
      durationMs: duration(kind, random, options),
    })
  }
}

function duration(kind: FaultKind, random: Random, { leaseMs }: PlanOptions): number {
  if (kind === 'stop') return Math.round(leaseMs * (0.5 + random.next() * 2.5))
  // The other one has to come up, and to wait for the end of the lease.
  if (kind === 'usurp') return Math.round(leaseMs * (3 + random.next() * 2))
  if (/hole$|mute$|lag$/.test(kind)) return random.integer(500, 4_000)
  if (kind === 'redis-stop' || kind === 'redis-full') return random.integer(200, 2_500)
  return random.integer(0, 800) // before it comes back
}

function planPoisons(options: PlanOptions): number[] {
  const random = new Random(options.seed, 'poison')
  const count = Math.max(3, Math.round(options.tasks / 300))
  return Array.from({ length: count }, () => Math.round(random.next() * busyMs(options)))
}
