import type { RedisClient } from '../redis/client.ts'
import { type Keys, type LaneName, workerOfLane } from '../redis/keys.ts'
import { Agenda } from '../store/agenda.ts'
import { ControlRepairs } from '../store/control-repairs.ts'
import { ControlSurvey } from '../store/control-survey.ts'
import { DEFAULT_LEASE_MS } from '../store/defaults.ts'
import { Fleet, type FleetWorker } from '../store/fleet.ts'
import { KeySpace } from '../store/key-space.ts'
import { type TaskFacts, TaskFactsReader } from '../store/task-facts.ts'
import type { Abandonment } from './abandonment.ts'
import type { FindingDetail } from './finding.ts'

/** What the checks look with and mend with. */
export interface AuditTools {
  readonly keys: Keys
  readonly space: KeySpace
  readonly fleet: Fleet
  readonly facts: TaskFactsReader
  readonly survey: ControlSurvey
  readonly agenda: Agenda
  readonly repairs: ControlRepairs
}

/** The tools for one consumer group. */
export function auditTools(redis: RedisClient, keys: Keys, group: string): AuditTools {
  return {
    ...{
      keys,
      space: new KeySpace(redis, keys),
      fleet: new Fleet(redis, keys),
      facts: new TaskFactsReader(redis, keys),
    },
    agenda: new Agenda(redis, keys),
    ...{ survey: new ControlSurvey(redis, group), repairs: new ControlRepairs(redis, group) },
  }
}

/** How far a look goes. */
export interface LookScope {
  /** Only this capability's streams and tasks. */
  readonly capability: string | undefined
  /** Most records, and most entries, that are looked at. */
  readonly limit: number
  readonly group: string
  /** A consumer is given up after so long a silence. */
  readonly consumerIdleMs: number
}

/** What one look takes for a finding, and how to repair it; without a repair there is none. */
export interface Suspicion {
  readonly detail: FindingDetail
  readonly repair: (() => Promise<boolean>) | undefined
}

/** One look at everything: what is known before the checks begin, and what they suspect. */
export class Look {
  readonly tools: AuditTools
  readonly scope: LookScope
  readonly abandonment: Abandonment
  /** When the look began, as Unix ms by Redis' clock. */
  readonly now: number
  readonly workers: ReadonlyMap<string, FleetWorker>
  /** The longest lease of a live worker. */
  readonly leaseMs: number
  /** By what must be the same in the next look for it to be the same matter. */
  readonly suspicions = new Map<string, Suspicion>()
  /** Tasks that nobody owns, and of which no entry was seen yet, by key. */
  readonly unbound = new Map<string, TaskFacts>()
  /** Tasks that were ended from outside and wait for their entry to be seen off, by key; none of it was seen yet. */
  readonly retained = new Map<string, TaskFacts>()
  /** What was left out, in full sentences. */
  readonly notes = new Set<string>()
  records = 0
  entries = 0

  private constructor(
    base: { tools: AuditTools; scope: LookScope; abandonment: Abandonment },
    now: number,
    workers: ReadonlyMap<string, FleetWorker>,
  ) {
    this.tools = base.tools
    this.scope = base.scope
    this.abandonment = base.abandonment
    this.now = now
    this.workers = workers
    this.leaseMs = [...workers.values()].reduce((most, { leaseMs }) => Math.max(most, leaseMs), DEFAULT_LEASE_MS)
  }

  static async begin(base: { tools: AuditTools; scope: LookScope; abandonment: Abandonment }): Promise<Look> {
    return new Look(base, await base.tools.space.now(), await base.tools.fleet.live())
  }

  /** Beyond this idle time an entry's lease has run out, and a takeover had time enough. */
  get longSilenceMs(): number {
    return 2 * this.leaseMs
  }

  /** True if a live worker takes what lies on the lane. */
  isOffered(lane: OfferedLane): boolean {
    return [...this.workers].some(([workerId, worker]) => servesLane(workerId, worker, lane))
  }

  /**
   * Notes a suspicion.
   *
   * @param evidence - What must be the same in the next look, beside the kind.
   */
  suspect(detail: FindingDetail, evidence: readonly unknown[], repair?: () => Promise<boolean>): void {
    this.suspicions.set(JSON.stringify([detail.kind, ...evidence]), { detail, repair })
  }
}

/** A lane, as far as it matters to who takes from it. */
export interface OfferedLane {
  readonly capability: string
  readonly priority: LaneName
  /** Set for a lane of one version. */
  readonly version?: string | undefined
}

/** True if the worker offers the lane's capability, is the one it is for, and goes on with tasks of its version. */
export function servesLane(
  workerId: string,
  worker: FleetWorker,
  { capability, priority, version }: OfferedLane,
): boolean {
  const only = workerOfLane(priority)
  return (
    worker.capabilities.includes(capability) &&
    (only === undefined || only === workerId) &&
    (version === undefined || worker.agentVersions.includes(version))
  )
}
