import { GatewayError } from '../errors.ts'
import type { SessionEvent } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { compareEntryIds } from '../redis/streams.ts'
import type { DataReader } from '../store/data-reader.ts'
import type { TaskRecords } from '../store/task-records.ts'
import { doneEvent } from './own-events.ts'

/** How much earlier than its record a task's first event can lie: the clocks of a failed-over pair of servers differ. */
const CLOCK_MARGIN_MS = 60_000

/**
 * What a look at a record has found: the end that the stream has no more, that the stream is to be read first, or that the
 * reader has had the end already.
 */
type Found = SessionEvent | 'behind' | 'known' | undefined

/**
 * Sees to it that who waits for a task's end gets it even if the stream does not bring it: a task whose `done` event was
 * trimmed or has expired still has its end in its record. A task that was there and is not any more, while its end was
 * never seen, went with the server's data: who waits for it is told.
 */
export class EndWatch {
  readonly #ref: TaskRef
  readonly #records: TaskRecords
  readonly #reader: DataReader
  readonly #after: string | undefined
  readonly #lookSoon: () => void
  #isDue = true
  /** When the task began, or at the earliest, if it had begun by the time of {@link start}: Unix ms. */
  #begunAt: number | undefined
  /** The task was accepted, as far as is known here: its record, an event of it or its sender said so. */
  #known = false
  /** The record of the known task was not there at the last look. */
  #missing = false
  /** The task's `done` was noted. */
  #doneSeen = false
  /** Ends of the task after which it lived again, by the ids of their events. */
  readonly #pastEnds = new Set<string>()

  constructor(options: {
    ref: TaskRef
    records: TaskRecords
    reader: DataReader
    /** Id of the last event that the reader had before it came, if it has named one. */
    after: string | undefined
    /** Asks for another look before long. */
    lookSoon: () => void
  }) {
    this.#ref = options.ref
    this.#records = options.records
    this.#reader = options.reader
    this.#after = options.after
    this.#lookSoon = options.lookSoon
  }

  /** The record is to be looked at once the stream has nothing more. */
  get isDue(): boolean {
    return this.#isDue
  }

  wake(): void {
    this.#isDue = true
  }

  /** The task was accepted by Redis, so its loss would be noticed. */
  expect(): void {
    this.#known = true
  }

  /** Takes note of an event that the stream has brought. */
  note({ messageId, type, id }: SessionEvent): void {
    if (messageId !== this.#ref.messageId) return
    this.#known = true
    if (type === 'done' && !this.#pastEnds.has(id)) this.#doneSeen = true
  }

  /** True for an end of the task after which it lived again. */
  isPast(id: string): boolean {
    return this.#pastEnds.has(id)
  }

  /** A dead letter that was redriven has a life after its end: then that was not the last word. To be asked before `note`. */
  async lookForLaterLives(events: readonly SessionEvent[]): Promise<void> {
    const failures = events.filter(
      (event) => event.type === 'done' && event.status === 'FAILED' && event.messageId === this.#ref.messageId,
    )
    if (failures.length === 0) return
    const end = await this.#records.getEnd(this.#ref)
    if (end === null) return
    for (const { id } of failures) {
      if (!('endId' in end) || compareEntryIds(end.endId, id) > 0) this.#pastEnds.add(id)
    }
  }

  /** An id before the first event of the task, from the time at which Redis made its record. */
  async start(): Promise<string> {
    const task = await this.#records.get(this.#ref)
    this.#known ||= task !== null
    if (task === null) return '0-0'
    const { createdAt, startedAt, attempt } = task
    // That of the first attempt is known only as long as there is no other.
    if (startedAt !== null) this.#begunAt = attempt > 1 ? createdAt : startedAt
    return `${Math.max(0, createdAt - CLOCK_MARGIN_MS)}-0`
  }

  /** True if the task had something to say before the event of `id`, as far as was known at the {@link start}. */
  hadBegunBefore(id: string): boolean {
    return this.#begunAt !== undefined && this.#begunAt < Number.parseInt(id, 10)
  }

  /**
   * Looks at the record; `cursor` tells the last event that the reader has.
   *
   * @throws GatewayError `GW_TASK_LOST`.
   */
  async look(cursor: () => string): Promise<Found> {
    this.#isDue = false
    if (this.#doneSeen) return undefined
    const end = await this.#records.getEnd(this.#ref)
    if (end === null) {
      this.#miss()
      return undefined
    }
    this.#known = true
    this.#missing = false
    if (!('endId' in end)) return undefined
    if (this.#after !== undefined && compareEntryIds(end.endId, this.#after) <= 0) return 'known'
    const isPassed = () => compareEntryIds(end.endId, cursor()) <= 0
    if (isPassed()) return doneEvent(end)
    const lastId = await this.#reader.lastId(this.#ref.sessionId)
    if (isPassed() || compareEntryIds(end.endId, lastId) > 0) return doneEvent(end)
    // Written between the reader's page and this look, or trimmed by now: the next page tells.
    this.#isDue = true
    return 'behind'
  }

  /** One look is no proof: in a failover the record may come with the next start of the task. */
  #miss(): void {
    if (!this.#known || this.#doneSeen) return
    if (this.#missing) throw new GatewayError('GW_TASK_LOST', { messageId: this.#ref.messageId })
    this.#missing = true
    this.#lookSoon()
  }
}
