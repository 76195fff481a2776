import type { AgendaItem, ReadyItem, TakenItem } from '../store/agenda.ts'

/** Most tasks that are held, and about the most that they weigh, in UTF-16 units. */
const MOST_ITEMS = 10_000
const MOST_UNITS = 4_194_304

interface Held extends TakenItem {
  readonly item: ReadyItem
  /** By the clock of `performance`: no step of this machine's clock moves it. */
  readonly at: number
}

/**
 * The tasks of one shard of the agenda that its keeper has in its hands until they are due. Bounded: what does not fit
 * stays on the agenda until it is due.
 */
export class Upcoming {
  /** The earliest first. */
  #held: Held[] = []
  #units = 0

  /** True if there is room for more. */
  get hasRoom(): boolean {
    return this.#held.length < MOST_ITEMS && this.#units < MOST_UNITS
  }

  /** When the first is due, by `performance.now()`; never, if there is none. */
  get nextAt(): number {
    return this.#held[0]?.at ?? Number.POSITIVE_INFINITY
  }

  /** Holds the tasks among what was taken at `takenAt`, at the earliest. */
  add(taken: readonly TakenItem[], takenAt: number): void {
    const isSorted = this.#held.length === 0
    for (const { item, waitMs, dueAt } of taken) {
      if (!isReady(item)) continue
      this.#held.push({ item, waitMs, dueAt, at: takenAt + waitMs })
      this.#units += item.data.length
    }
    // A take is in order.
    if (!isSorted) this.#held.sort((one, other) => one.at - other.at)
  }

  /** Lets go of those that are due at `now`, the earliest first. */
  takeDue(now: number): ReadyItem[] {
    const due = this.#held.findIndex(({ at }) => at > now)
    return this.#letGo(due === -1 ? this.#held.length : due).map(({ item }) => item)
  }

  /** Lets go of all. */
  clear(): TakenItem[] {
    return this.#letGo(this.#held.length)
  }

  #letGo(count: number): Held[] {
    const gone = this.#held.splice(0, count)
    for (const { item } of gone) this.#units -= item.data.length
    return gone
  }
}

function isReady(item: AgendaItem): item is ReadyItem {
  return item.kind === 'ready'
}
