import type { TakenItem } from '../store/agenda.ts'
import type { ReadyItem } from '../store/agenda-items.ts'
import type { Stage } from '../store/stages.ts'

/** Most tasks that are held, and about the most that they weigh, in UTF-16 units. */
const MOST_ITEMS = 10_000
const MOST_UNITS = 4_194_304

/** A task in the hands of its keeper, on a stage if it comes with many. */
export interface TakenTask extends TakenItem {
  readonly item: ReadyItem
  readonly stage?: Stage | undefined
}

interface Held extends TakenTask {
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

  /**
   * Holds what was asked for at `askedAt` and came at `answeredAt`. Its time counts from the answer, a little late rather than
   * early; but what lies on a stage does not leave it too early, so that it may be asked for as early as can be.
   */
  add(taken: readonly TakenTask[], askedAt: number, answeredAt: number): void {
    for (const task of taken) {
      this.#held.push({ ...task, at: (task.stage === undefined ? answeredAt : askedAt) + task.waitMs })
      this.#units += task.item.data.length
    }
    this.#held.sort((one, other) => one.at - other.at)
  }

  /**
   * Lets go of those that are due at `now`, the earliest first; with a stage go all that are due with it by the clock of the
   * server, though they were taken one after the other.
   */
  takeDue(now: number): TakenTask[] {
    const later = this.#held.findIndex(({ at }) => at > now)
    const gone = this.#held.splice(0, later === -1 ? this.#held.length : later)
    const lastAt = gone.reduce((last, { stage }) => Math.max(last, stage?.dueAt ?? 0), 0)
    if (lastAt > 0) {
      const isWith = ({ stage }: Held) => stage !== undefined && stage.dueAt <= lastAt
      gone.push(...this.#held.filter(isWith))
      this.#held = this.#held.filter((held) => !isWith(held))
    }
    return this.#weighed(gone)
  }

  /** Lets go of all. */
  clear(): TakenTask[] {
    return this.#weighed(this.#held.splice(0))
  }

  #weighed(gone: Held[]): Held[] {
    for (const { item } of gone) this.#units -= item.data.length
    return gone
  }
}
