import { type Act, fails, linesOf } from './durable/program.ts'

/** What a task's handler does; the content of its message, as JSON. */
export type Work =
  /** Returns at once. */
  | { readonly kind: 'quick' }
  /** Emits `count` chunks, `pauseMs` apart (0: without waiting for each other). */
  | { readonly kind: 'chunks'; readonly count: number; readonly pauseMs: number }
  /** Keeps the event loop busy, between two chunks. */
  | { readonly kind: 'cpu'; readonly ms: number }
  /** Takes longer than a lease, with `count` chunks on the way. */
  | { readonly kind: 'long'; readonly count: number; readonly pauseMs: number }
  /** Like `long`, but never looks at its signal and goes on after every refusal. */
  | { readonly kind: 'deaf'; readonly count: number; readonly pauseMs: number }
  /** Says `count` chunks and fails, the first `times` times. */
  | { readonly kind: 'flaky'; readonly count: number; readonly times: number }
  /** Fails each time. */
  | { readonly kind: 'fail'; readonly count: number }
  /** Fails in a way that is not to be tried again. */
  | { readonly kind: 'terminal'; readonly count: number }
  /** Kills its own process with SIGKILL: at most `times` times, or each time if so many are enough to be given up. */
  | { readonly kind: 'killer'; readonly count: number; readonly times: number }
  | DurableWork

/** Calls, asks, steps and sleeps as its acts say. */
export interface DurableWork {
  readonly kind: 'durable'
  readonly acts: readonly Act[]
}

export type WorkKind = Work['kind']

/** A task that is to kill its process this often never ends otherwise. */
const ENDLESS_KILLS = 3
/**
 * So often the process of the `pit` may die of one task before the task goes to the dead letters. More than it takes: one
 * task may kill the process before the end of another, which has returned, could be written.
 */
export const PIT_MAX_DELIVERIES = ENDLESS_KILLS + 3
/** The same for all other workers; more than a run can kill them. */
export const MAX_DELIVERIES = 200
export const MAX_ATTEMPTS = 3

/** The capability of all tasks but the killers. */
export const CAPABILITY = 'chaos'
/** The capability of tasks that kill their process: on a worker of their own, so that others do not suffer for them. */
export const PIT = 'chaos_pit'

export function capabilityOf({ kind }: Work): string {
  return kind === 'killer' ? PIT : CAPABILITY
}

/** How many chunks a complete attempt emits. */
export function chunksOf(work: Work): number {
  if (work.kind === 'quick') return 0
  if (work.kind === 'durable') return linesOf('', work).length
  return work.kind === 'cpu' ? 2 : work.count
}

/** The text of one chunk. */
export function chunkText(task: string, n: number): string {
  return `${task}/${n};`
}

/** All that a complete attempt says; what durable tasks say depends on more than their work. */
export function wholeText(task: string, work: Exclude<Work, DurableWork>): string {
  return Array.from({ length: chunksOf(work) }, (_, n) => chunkText(task, n)).join('')
}

/** The end of a task of this kind if nobody cancels it. */
export function naturalEnd(work: Work): 'COMPLETED' | 'FAILED' {
  if (work.kind === 'durable') return fails(work) ? 'FAILED' : 'COMPLETED'
  if (work.kind === 'fail' || work.kind === 'terminal') return 'FAILED'
  if (work.kind === 'flaky') return work.times < MAX_ATTEMPTS ? 'COMPLETED' : 'FAILED'
  if (work.kind === 'killer') return work.times < ENDLESS_KILLS ? 'COMPLETED' : 'FAILED'
  return 'COMPLETED'
}
