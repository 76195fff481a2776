import type { Logger } from '../../logger.ts'
import type { TaskRef } from '../../protocol/ids.ts'
import type { Agenda } from '../../store/agenda.ts'
import type { InboxWriter } from '../../store/inbox.ts'
import type { Journal, Operation } from './journal.ts'

/** The task whose deadlines they are. */
export interface DeadlinesOwner {
  readonly resources: { readonly agenda: Agenda; readonly inboxes: InboxWriter }
  readonly ref: TaskRef
  readonly journal: Journal
  readonly logger: Logger
}

/**
 * When the time of a task's operations is up: by the agenda, which gives an operation its result whoever lives then, or,
 * where it is soon, by a timer of this process, which goes with the attempt.
 */
export class Deadlines {
  readonly #task: DeadlinesOwner
  /** The operations that are, or may be, on the agenda. */
  readonly #listed = new Set<string>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #isOver = false

  constructor(task: DeadlinesOwner) {
    this.#task = task
  }

  /** The operations that are, or may be, on the agenda. */
  get listed(): string[] {
    return [...this.#listed]
  }

  /** What is left of a time that began when an operation was first noted, in ms. */
  msLeft({ entry }: Operation, ms: number): number {
    // An operation that this run has noted begins now.
    return entry === undefined ? ms : Math.max(entry.openedAt + ms - this.#task.journal.now, 0)
  }

  /** Puts a result on the agenda that an operation is given when its time is up. */
  async start(op: Operation, ms: number, result: string): Promise<void> {
    const { ref, resources } = this.#task
    const { sessionId, messageId } = ref
    this.#listed.add(op.key)
    const item = { kind: 'answer', sessionId, messageId, op: op.key, result } as const
    await resources.inboxes.wakeKeepers(await resources.agenda.add([{ item, delayMs: this.msLeft(op, ms) }]))
  }

  /**
   * Strikes out a deadline that is not needed any more; one that stays does no harm. Where the answer came while the task
   * was suspended, that is left to the task's end: each run until then reads it again.
   */
  drop({ key, result }: Operation): void {
    if (result !== undefined) {
      this.#listed.add(key)
      return
    }
    this.#listed.delete(key)
    const { ref, resources, logger } = this.#task
    const { sessionId, messageId } = ref
    resources.agenda
      .strikeOut({ sessionId, messageId }, { ops: [key] })
      .catch((error: unknown) => logger.debug({ err: error }, 'a deadline stays on the agenda until it is due'))
  }

  /**
   * Calls back in so many ms, unless the attempt is over by then; what it answers takes that back.
   *
   * @param callback - Never rejects.
   */
  ring(ms: number, callback: () => Promise<void>): () => void {
    if (this.#isOver) return () => undefined
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      void callback()
    }, ms)
    this.#timers.add(timer)
    return () => {
      clearTimeout(timer)
      this.#timers.delete(timer)
    }
  }

  /** The attempt is over; what is on the agenda stays there. */
  end(): void {
    this.#isOver = true
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }
}
