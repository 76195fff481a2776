import type { LaneName } from '../redis/keys.ts'

/** What {@link Finding} is about, by its kind. Times are in ms. */
export type FindingDetail =
  /** A task is RUNNING, but its entry is not pending: nobody renews it, and nobody will take it over. */
  | (TaskPlace & {
      readonly kind: 'running-without-entry'
      readonly workerId: string
      readonly entryId: string
      /** `acked`: the entry still lies on the stream; `gone`: it does not. */
      readonly entry: 'acked' | 'gone'
      readonly isOwnerAlive: boolean
    })
  /** A task waits, but no entry on any lane and no item of the agenda will ever start it. */
  | (TaskPlace & { readonly kind: 'waiting-without-entry'; readonly status: 'QUEUED' | 'DELAYED' | 'RETRYING' })
  /** A task has its end, or another entry took its place, and yet this entry is still pending. */
  | (EntryPlace & {
      readonly kind: 'needless-entry'
      readonly consumer: string
      readonly idleMs: number
      readonly why: 'ended' | 'stale'
    })
  /** An entry is pending that is not on the stream any more. */
  | (EntryPlace & { readonly kind: 'ghost-entry'; readonly consumer: string; readonly idleMs: number })
  /** An entry was acked and not deleted: it fills the stream, or its task never ran. */
  | (EntryPlace & { readonly kind: 'acked-entry'; readonly why: 'ended' | 'stale' | 'unknown-task' | 'waits-for-it' })
  /** The lease of an entry ran out long ago, workers are alive, and none takes it over. */
  | (EntryPlace & { readonly kind: 'not-taken-over'; readonly consumer: string; readonly idleMs: number })
  /** Tasks wait, and no live worker offers their capability. */
  | (LanePlace & {
      readonly kind: 'no-worker'
      /** Set where only workers of that version would do. */
      readonly version?: string | undefined
      readonly waiting: number
      readonly oldestMs: number
    })
  /** A second consumer group: each group runs every task. */
  | (LanePlace & { readonly kind: 'foreign-group'; readonly group: string; readonly pending: number })
  /** A consumer whose worker is gone and that owns nothing. */
  | (LanePlace & { readonly kind: 'idle-consumer'; readonly consumer: string; readonly idleMs: number })
  /** A key that should expire some day and never will. */
  | {
      readonly kind: 'key-without-ttl'
      readonly key: string
      readonly holds: 'record' | 'journal' | 'events' | 'session' | 'worker'
    }
  /** The journal of a task that has no record any more. */
  | { readonly kind: 'orphaned-journal'; readonly key: string }
  /** A worker that is gone and still stands on a list. */
  | { readonly kind: 'listed-worker'; readonly workerId: string; readonly capability: string | null }
  /** There are dead letters. */
  | { readonly kind: 'dead-letters'; readonly capability: string; readonly count: number }

interface TaskPlace {
  readonly sessionId: string
  readonly messageId: string
  readonly agentType: string
}

interface LanePlace {
  readonly capability: string
  readonly priority: LaneName
}

interface EntryPlace extends LanePlace {
  readonly entryId: string
  /** Empty where the entry does not say. */
  readonly sessionId: string
  readonly messageId: string
}

/** The kinds of finding. */
export type FindingKind = FindingDetail['kind']

/**
 * How grave a finding is: a `fault` should not be; a `warning` may be meant so, but rarely is; `info` is a state of
 * affairs that explains why something does not move.
 */
export type Severity = 'fault' | 'warning' | 'info'

/** Something that `diagnose` found, twice, some seconds apart. */
export type Finding = FindingDetail & {
  readonly severity: Severity
  /** What it is and why it matters, in full sentences. */
  readonly text: string
  /** What `fix` does about it, or what a person can do. */
  readonly remedy: string
  /** True if `fix` can repair it. */
  readonly fixable: boolean
  /** True if it was repaired just now. */
  readonly fixed: boolean
}
