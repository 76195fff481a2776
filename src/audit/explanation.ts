import type { TaskFault } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import type { TerminalStatus } from '../protocol/status.ts'
import type { LaneName } from '../redis/keys.ts'
import type { CancelRequest } from '../store/cancel-request.ts'

/** A worker, as far as it is known. */
export interface WorkerSign {
  readonly workerId: string
  /** Null: the worker is gone. */
  readonly host: string | null
  readonly pid: number | null
  readonly leaseMs: number | null
  /** Time since the worker's last heartbeat. */
  readonly seenMsAgo: number | null
}

/** A dead letter of the task. */
export interface DeadLetterSign {
  readonly capability: string
  readonly id: string
  readonly reason: string
  readonly detail: string
}

/** Where a task is, by its state. Times are in ms; points in time Unix ms by Redis' clock. */
export type ExplanationDetail = TaskRef &
  (
    | { readonly state: 'unknown'; readonly deadLetter: DeadLetterSign | null }
    /** Waits for a worker. */
    | {
        readonly state: 'queued'
        readonly agentType: string
        readonly status: 'QUEUED' | 'DELAYED' | 'RETRYING'
        readonly priority: LaneName
        /** Set if it was begun by that version, and only workers that go on with its tasks may run it. */
        readonly version: string | undefined
        readonly entryId: string
        /** From 1, counted among what waits on its own lane. */
        readonly position: number
        /** Live workers that offer its capability, and go on with its version. */
        readonly workers: number
        readonly freeSlots: number
        readonly attempt: number
        readonly error: TaskFault | null
      }
    /** Handed to a worker and not begun, or its entry is about to be taken over. */
    | {
        readonly state: 'taken'
        readonly agentType: string
        readonly priority: LaneName
        readonly entryId: string
        readonly worker: WorkerSign
        readonly idleMs: number
        readonly takeoverInMs: number | null
        readonly workers: number
      }
    /** Is held back until its time has come. */
    | {
        readonly state: 'held-back'
        readonly agentType: string
        readonly status: 'QUEUED' | 'DELAYED' | 'RETRYING'
        /** Set if it is for one worker only, and begun by that version, with which that worker does not go on now. */
        readonly version: string | undefined
        readonly dueAt: number | null
        readonly dueInMs: number | null
        readonly attempt: number
        readonly error: TaskFault | null
      }
    /** Waits for an answer: of an agent, of a person, or of a timer; no worker holds it meanwhile. */
    | { readonly state: 'suspended'; readonly agentType: string; readonly attempt: number }
    /** Nothing will ever start it. */
    | {
        readonly state: 'stranded'
        readonly agentType: string
        readonly status: 'QUEUED' | 'DELAYED' | 'RETRYING' | 'RUNNING'
        /** True if the streams are too long to be sure. */
        readonly isGuess: boolean
      }
    | {
        readonly state: 'running'
        readonly agentType: string
        readonly worker: WorkerSign
        readonly startedAt: number | null
        readonly runningMs: number | null
        readonly attempt: number
        readonly epoch: number
        /** Time since the last renewal of its lease. */
        readonly idleMs: number
        /** Null: its worker keeps it. */
        readonly takeoverInMs: number | null
        /** The lane on which its entry lies; `@` and a worker's id if it is for that worker only. */
        readonly priority: LaneName
        /** Live workers that could take it over. */
        readonly workers: number
        readonly cancel: CancelRequest | null
      }
    | {
        readonly state: 'ended'
        readonly agentType: string
        readonly status: TerminalStatus
        readonly attempt: number
        readonly finishedAt: number | null
        readonly error: TaskFault | null
        /** Time the record has left; null: a worker has yet to see its entry off, or it is kept for ever. */
        readonly keptMs: number | null
        readonly deadLetter: DeadLetterSign | null
      }
    /** In a state that this version does not know. */
    | { readonly state: 'other'; readonly agentType: string; readonly fence: string }
  )

/** Where a task is and what it waits for. */
export type Explanation = ExplanationDetail & {
  /** The same in full sentences. */
  readonly text: string
}
