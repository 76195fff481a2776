import type { SessionEvent } from '../protocol/event.ts'

/** Which events of a session a reader wants: all, those of one task, or those of a task and the agents it called. */
export class TaskFilter {
  readonly #messageId: string | undefined
  readonly #tree: boolean
  readonly #isPast: (endId: string) => boolean
  readonly #members = new Set<string>()
  #isDone = false

  /** `isPast` is true for an end of the task after which it lived again. */
  constructor(messageId: string | undefined, tree: boolean, isPast: (endId: string) => boolean) {
    this.#messageId = messageId
    this.#tree = tree
    this.#isPast = isPast
    if (messageId !== undefined) this.#members.add(messageId)
  }

  /** The task's own `done` went through. */
  get isDone(): boolean {
    return this.#isDone
  }

  /** To be asked of each event once, in the order of the stream. */
  wants(event: SessionEvent): boolean {
    if (this.#messageId === undefined || event.type === 'gap') return true
    if (this.#tree && this.#members.has(event.parentMessageId)) this.#members.add(event.messageId)
    if (!this.#members.has(event.messageId)) return false
    this.#isDone ||= event.type === 'done' && event.messageId === this.#messageId && !this.#isPast(event.id)
    return true
  }
}
