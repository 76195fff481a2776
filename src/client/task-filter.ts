import type { SessionEvent } from '../protocol/event.ts'

/** Which events of a session a reader wants: all, those of one task, or those of a task and the agents it called. */
export class TaskFilter {
  readonly #messageId: string | undefined
  readonly #tree: boolean
  readonly #isPast: (endId: string) => boolean
  readonly #members = new Set<string>()
  /** Tasks of which it is known that they are none; '' is who calls for a backend, and whose a gap is. */
  readonly #strangers = new Set([''])
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

  /** True of an event that cannot be judged yet: {@link trace} it first. */
  isUnknown({ messageId, parentMessageId }: SessionEvent): boolean {
    return this.#tree && !this.#knows(messageId) && !this.#knows(parentMessageId)
  }

  /** Follows the line of callers up to one that is known; those between may have said nothing yet. */
  async trace(event: SessionEvent, parentOf: (messageId: string) => Promise<string>): Promise<void> {
    const line = new Set([event.messageId])
    let caller = event.parentMessageId
    while (!this.#knows(caller) && !line.has(caller)) {
      line.add(caller)
      caller = await parentOf(caller)
    }
    const side = this.#members.has(caller) ? this.#members : this.#strangers
    for (const messageId of line) side.add(messageId)
  }

  /** A task is on the side of its caller. */
  #place({ messageId, parentMessageId }: SessionEvent): void {
    if (this.#members.has(parentMessageId)) this.#members.add(messageId)
    else if (!this.#members.has(messageId)) this.#strangers.add(messageId)
  }

  #knows(messageId: string): boolean {
    return this.#members.has(messageId) || this.#strangers.has(messageId)
  }

  /** Without those that are certainly not wanted: who follows one task keeps nothing of the others. */
  sift(events: readonly SessionEvent[]): readonly SessionEvent[] {
    if (this.#messageId === undefined || this.#tree) return events
    return events.filter(({ type, messageId }) => type === 'gap' || messageId === this.#messageId)
  }

  /** To be asked of each event once, in the order of the stream. */
  wants(event: SessionEvent): boolean {
    if (this.#messageId === undefined || event.type === 'gap') return true
    if (this.#tree) this.#place(event)
    if (!this.#members.has(event.messageId)) return false
    this.#isDone ||= event.type === 'done' && event.messageId === this.#messageId && !this.#isPast(event.id)
    return true
  }
}
