import type { TaskFault } from '../protocol/event.ts'
import { isTerminal, type TerminalStatus } from '../protocol/status.ts'
import type { TaskEnd, TaskInfo } from '../store/task-records.ts'

/** How a task ended. A task that failed or was cancelled is a result too. */
export interface TaskResult<Data = unknown> {
  readonly status: TerminalStatus
  /** What the handler returned; null unless the status is `COMPLETED`. */
  readonly data: Data
  /** The answer in words: the result if it is a text, its `content` if it has one, else the streamed text. */
  readonly content: string
  readonly error?: TaskFault
  readonly attempts: number
  readonly messageId: string
}

/** True if the task has its end. */
export function isEnd(end: TaskEnd | TaskInfo | null): end is TaskEnd {
  return end !== null && 'endId' in end
}

/** The end of a task as its caller sees it. */
export function toResult<Data>({ task, result, content, error }: TaskEnd): TaskResult<Data> {
  if (!isTerminal(task.status)) throw new TypeError(`task ${task.messageId} has an end but no terminal status`)
  return {
    status: task.status,
    data: result as Data,
    content,
    ...(error === null ? {} : { error }),
    attempts: task.attempt,
    messageId: task.messageId,
  }
}
