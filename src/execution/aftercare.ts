import { DATA_FIELD } from '../protocol/codec.ts'
import type { TaskFault } from '../protocol/event.ts'
import type { MessageHeader } from '../protocol/header.ts'
import { entryField } from '../redis/streams.ts'
import type { Agenda } from '../store/agenda.ts'
import type { EntryRef, TakenEntry } from '../store/control-streams.ts'
import type { DeadLetters } from '../store/dead-letters.ts'
import type { InboxWriter } from '../store/inbox.ts'
import type { AttemptFailure } from '../store/task-records.ts'

/** A task as far as what comes after its attempt needs it. */
export interface Concluded {
  readonly header: MessageHeader
  readonly ownership: { readonly epoch: number }
}

/**
 * What follows a failed attempt outside its session: the next one is put on the agenda, or the task on the dead letters.
 * Both bear being done twice, because a worker may die between the record and these.
 */
export class Aftercare {
  readonly #agenda: Agenda
  readonly #inboxes: InboxWriter
  readonly #deadLetters: DeadLetters
  readonly #workerId: string

  constructor(options: { agenda: Agenda; inboxes: InboxWriter; deadLetters: DeadLetters; workerId: string }) {
    this.#agenda = options.agenda
    this.#inboxes = options.inboxes
    this.#deadLetters = options.deadLetters
    this.#workerId = options.workerId
  }

  /** Puts the next attempt on the agenda, due in so many ms. */
  async schedule({ raw, stream }: TakenEntry, { header, ownership }: Concluded, delayMs: number): Promise<void> {
    const { sessionId, messageId } = header
    const data = entryField(raw, DATA_FIELD) ?? ''
    const home = { capability: stream.capability, priority: stream.priority }
    const item = { kind: 'ready', turn: String(ownership.epoch), sessionId, messageId, ...home, data } as const
    await this.#inboxes.wakeKeepers(await this.#agenda.add([{ item, delayMs }]))
  }

  /** Keeps a task that failed for good, with the history of its attempts. */
  async bury(
    { id: entryId, stream }: EntryRef,
    { header, ownership }: Concluded,
    { fault, history }: { fault: TaskFault; history: readonly AttemptFailure[] },
  ): Promise<void> {
    const { sessionId, messageId } = header
    const letter = { capability: stream.capability, reason: 'failed', detail: `${fault.code}: ${fault.message}` }
    const origin = { entryId, sessionId, messageId, workerId: this.#workerId, epoch: ownership.epoch }
    await this.#deadLetters.add({ ...letter, ...origin, history }, stream.key)
  }
}
