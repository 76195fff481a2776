import type { TaskRef } from '../../protocol/ids.ts'
import type { ReplyWake } from '../../store/inbox.ts'

/** A task that waits for results in this process. */
export interface WaitingTask {
  readonly ref: TaskRef
  /** Takes a result that has come; `text` is '' if it must be read. */
  hear(op: string, text: string): void
}

/** The tasks of a worker that wait for results in memory, by their ids. */
export class WaitDesk<Task extends WaitingTask = WaitingTask> {
  readonly #tasks = new Map<string, Task>()

  get tasks(): Iterable<Task> {
    return this.#tasks.values()
  }

  add(task: Task): void {
    this.#tasks.set(nameOf(task.ref), task)
  }

  remove(task: Task): void {
    const name = nameOf(task.ref)
    if (this.#tasks.get(name) === task) this.#tasks.delete(name)
  }

  /** Hands a result to the task that waits for it; what nobody waits for here lies in its journal. */
  wake({ task, op, text }: ReplyWake): void {
    this.#tasks.get(nameOf(task))?.hear(op, text)
  }
}

/** Ids hold no spaces. */
function nameOf({ sessionId, messageId }: TaskRef): string {
  return `${sessionId} ${messageId}`
}
