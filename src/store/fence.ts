import type { TaskStatus, TerminalStatus } from '../protocol/status.ts'

/*
 * A task's record is a hash. Its field `fence` packs `state:epoch:entry:owner`, so that one string comparison decides
 * whether a writer still owns the task: the state as a letter, the number of the attempt's ownership (it only grows),
 * the id of the one control entry that may run the task, and the worker.
 */

/** What the letter of a fence says; a task that waits for a person says so elsewhere in its record. */
export const STATUS_BY_LETTER: Readonly<Record<string, TaskStatus>> = {
  Q: 'QUEUED',
  D: 'DELAYED',
  R: 'RUNNING',
  T: 'RETRYING',
  C: 'COMPLETED',
  F: 'FAILED',
  X: 'CANCELLED',
  E: 'EXPIRED',
  W: 'WAITING_AGENT',
}

const TERMINAL_LETTER: Readonly<Record<TerminalStatus, string>> = {
  COMPLETED: 'C',
  FAILED: 'F',
  CANCELLED: 'X',
  EXPIRED: 'E',
}

/** The fence of a task that ends while `fence` holds. */
export function endedFence(fence: string, status: TerminalStatus): string {
  return TERMINAL_LETTER[status] + fence.slice(1)
}

/** The fence of a task whose attempt failed while `fence` held, and which waits for the next; nobody owns it. */
export function parkedFence(fence: string): string {
  const [, epoch, entry] = fence.split(':')
  return `T:${epoch}:${entry}:`
}

/** The fence of a task that was suspended while `fence` held; nobody owns it. */
export function suspendedFence(fence: string): string {
  const [, epoch, entry] = fence.split(':')
  return `W:${epoch}:${entry}:`
}

/** True for a task that waits for an entry, for its time or for an answer, and that nobody owns. */
export function isUnbound(fence: string): boolean {
  return /^[QDTW]:/.test(fence)
}

/** True for a task that is not due yet: no entry begins it but the one that the agenda puts on its stream. */
export function isHeldBack(fence: string): boolean {
  return fence.startsWith('D:')
}

/** True for a task that was suspended and has no answer yet. */
export function isSuspended(fence: string): boolean {
  return fence.startsWith('W:')
}

/** True for a task that has its end. */
export function isEnded(fence: string): boolean {
  return /^[CFXE]:/.test(fence)
}

/** True for a task that was cancelled. */
export function isCancelled(fence: string): boolean {
  return fence.startsWith('X:')
}

/** The number of a fence; it grows with each begin. */
export function epochOf(fence: string): string {
  return fence.split(':')[1] ?? '0'
}

/** The control entry a fence names, or ''. */
export function entryOf(fence: string): string {
  return fence.split(':')[2] ?? ''
}

/** The worker a fence names, or ''. */
export function ownerOf(fence: string): string {
  return fence.split(':').slice(3).join(':')
}
