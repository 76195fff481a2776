import type { SessionEvent } from '../protocol/event.ts'
import { compareEntryIds } from '../redis/streams.ts'
import { PAGE_WEIGHT } from '../store/data-reader.ts'

/** Events kept for a consumer that is slower than the stream, of a page's weight; beyond that it reads from the stream again. */
const MOST = 512

/** The events that a reader has before it, and how far in the stream they reach. */
export class EventBuffer {
  readonly #events: SessionEvent[] = []
  /** What was pushed since it was last empty. */
  #weight = 0
  #cursor = '0-0'

  /** Id of the last event that went in, or from which on they are wanted. */
  get cursor(): string {
    return this.#cursor
  }

  /** The next event, undefined if there is none. */
  get first(): SessionEvent | undefined {
    return this.#events[0]
  }

  /** Takes the next event out. */
  shift(): SessionEvent | undefined {
    return this.#events.shift()
  }

  /** Says from which event on they are wanted. */
  startAfter(id: string): void {
    this.#cursor = id
  }

  /** Counts a push in; true if there is no room for it. */
  overflows(count: number, weight: number): boolean {
    if (this.#events.length === 0) this.#weight = 0
    this.#weight += weight
    return this.#events.length + count > MOST || (this.#events.length > 0 && this.#weight > PAGE_WEIGHT)
  }

  /** Adds events that follow on those which are there, up to that of the id. */
  append(events: readonly SessionEvent[], upTo = this.#cursor): void {
    for (const event of events) this.#events.push(event)
    this.#cursor = upTo
  }

  /** Adds one that is not of the stream. */
  insert(event: SessionEvent): void {
    this.#events.push(event)
  }

  /** Those of the events that have not been in it yet. */
  unseenOf(events: readonly SessionEvent[]): readonly SessionEvent[] {
    return events.filter(({ id }) => compareEntryIds(id, this.#cursor) > 0)
  }
}
