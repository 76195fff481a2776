import type { DurableTask } from './durable-task.ts'
import type { Operation } from './journal.ts'

/** What is left of a time that began when an operation was first noted, in ms. */
export function msLeft(task: DurableTask, { entry }: Operation, ms: number): number {
  // An operation that this run has noted begins now.
  return entry === undefined ? ms : Math.max(entry.openedAt + ms - task.journal.now, 0)
}

/** Puts a result on the agenda that an operation is given when its time is up, whoever lives then. */
export async function startDeadline(task: DurableTask, op: Operation, ms: number, result: string): Promise<void> {
  const { agenda, inboxes } = task.resources
  const { sessionId, messageId } = task.ref
  task.deadlines.add(op.key)
  const item = { kind: 'answer', sessionId, messageId, op: op.key, result } as const
  await inboxes.wakeKeepers(await agenda.add([{ item, delayMs: msLeft(task, op, ms) }]))
}

/**
 * Strikes out a deadline that is not needed any more; one that stays does no harm. Where the answer came while the task was
 * suspended, that is left to the task's end: each run until then reads it again.
 */
export function dropDeadline(task: DurableTask, { key, result }: Operation): void {
  task.deadlines.add(key)
  if (result === undefined) task.strikeOut([key])
}
