import type { TaskRef } from '../protocol/ids.ts'
import { type CancelRequest, parseCancel } from './cancel-request.ts'
import { type RawJournal, toRawJournal } from './raw-journal.ts'

/** Asks for ownership of a task by one of its control entries. */
export interface BeginRequest extends TaskRef {
  readonly entryId: string
  /** The entry's turn: see begin.lua; '' if it has none. */
  readonly turn: string
}

/** A task that has a journal. */
export interface Replay {
  /** What a replay of its events is compared with: see `Emitter.sum`; '' if they are to be taken back. */
  readonly sum: string
  /** How often its journal was dropped. */
  readonly restarts: number
  /** The journal, unless it is so large that it has to be read. */
  readonly journal?: RawJournal | undefined
}

/** What `begin` says: the task is ours, or why not. */
export type BeginAnswer =
  | {
      readonly status: 'begun'
      readonly epoch: number
      readonly written: number
      /** When the task was made: Unix ms by Redis' clock. */
      readonly createdAt: number
      readonly fence: string
      /** Number of this attempt: attempts that failed before it, and one. */
      readonly attempt: number
      /** The task was cancelled before this attempt began. */
      readonly cancel: CancelRequest | null
      /** The task was not started in time. */
      readonly isExpired: boolean
      /** Which of the task's lives this is: 0 the first, else a number that no earlier one has. See revive.lua. */
      readonly life: number
      /** What the task did before under durable operations, if it did. */
      readonly replay: Replay | null
    }
  /** The entry's own attempt failed, and the next one is due in so many ms. */
  | { readonly status: 'parked'; readonly epoch: number; readonly dueInMs: number }
  /** Only a worker that goes on with tasks of that version may run it. */
  | { readonly status: 'elsewhere'; readonly epoch: number; readonly version: string }
  /** The entry's own attempt failed for good. */
  | { readonly status: 'failed'; readonly epoch: number }
  | { readonly status: 'missing' | 'ended' | 'replying' | 'stale' }

function toReplay([, sum = '', restarts, readAt, ...flat]: readonly string[]): Replay {
  const journal = readAt === undefined ? undefined : toRawJournal(Number(readAt), flat)
  return { sum, restarts: Number(restarts), journal }
}

/** @param answer - Of `begin` for one task. */
export function toBeginAnswer(
  answer: number | string | readonly string[],
  request: BeginRequest,
  workerId: string,
): BeginAnswer {
  if (typeof answer === 'number') {
    const fence = `R:1:${request.entryId}:${workerId}`
    return {
      status: 'begun',
      epoch: 1,
      written: 0,
      createdAt: answer,
      fence,
      attempt: 1,
      cancel: null,
      isExpired: false,
      life: 0,
      replay: null,
    }
  }
  if (typeof answer === 'string') return { status: answer as 'missing' | 'ended' | 'replying' | 'stale' }
  const [epoch = '0', written, createdAt, attempt, cancel = '', isExpired, life, ...noted] = answer
  if (epoch === 'parked') return { status: 'parked', dueInMs: Number(written), epoch: Number(createdAt) }
  if (epoch === 'elsewhere') return { status: 'elsewhere', version: written ?? '', epoch: Number(createdAt) }
  if (epoch === 'failed') return { status: 'failed', epoch: Number(written) }
  return {
    status: 'begun',
    epoch: Number(epoch),
    written: Number(written),
    createdAt: Number(createdAt),
    fence: `R:${epoch}:${request.entryId}:${workerId}`,
    attempt: Number(attempt),
    cancel: cancel === '' ? null : parseCancel(cancel),
    isExpired: isExpired === '1',
    life: Number(life ?? 0),
    replay: noted.length === 0 ? null : toReplay(noted),
  }
}
