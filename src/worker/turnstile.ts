import { PRIORITIES, type Priority } from '../redis/keys.ts'
import { TURNS } from './rota.ts'

/**
 * Keeps the rule of {@link Rota} on a Cluster, where each lane lies in a slot of its own and is read by itself: the reads
 * of one worker go one after the other, so that two cannot take the same free slot. Of those that want to go next the one
 * goes whose lane is owed most, because others have taken on its turns; else the one whose lane has its turn, else the one
 * of the highest lane. A lane that does not wait has nothing, and is owed nothing.
 */
export class Turnstile {
  readonly #waiting: { readonly lane: Priority; readonly enter: () => void }[] = []
  #isBusy = false
  #isScheduled = false
  #turn = 0
  /** Per lane, turns that others have taken, less those of others that it has taken. */
  readonly #owed: Record<Priority, number> = { high: 0, normal: 0, low: 0 }

  /** Waits for its turn, then reads; `read` answers how many tasks it took. */
  async pass(lane: Priority, read: () => Promise<number>): Promise<void> {
    await new Promise<void>((enter) => {
      this.#waiting.push({ lane, enter })
      this.#schedule()
    })
    try {
      this.#count(lane, await read())
    } finally {
      this.#isBusy = false
      this.#schedule()
    }
  }

  #count(lane: Priority, taken: number): void {
    for (let count = 0; count < taken; count += 1) {
      this.#owed[TURNS[this.#turn] as Priority] += 1
      this.#turn = (this.#turn + 1) % TURNS.length
    }
    this.#owed[lane] -= taken
  }

  /** Not at once: those who were woken by the same free slot are all to be there before one is chosen. */
  #schedule(): void {
    if (this.#isScheduled || this.#isBusy || this.#waiting.length === 0) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#isBusy = true
      const [chosen] = this.#waiting.splice(this.#next(), 1)
      chosen?.enter()
    })
  }

  #next(): number {
    const placeOf = (lane: Priority) => this.#waiting.findIndex((one) => one.lane === lane)
    const present = PRIORITIES.filter((lane) => placeOf(lane) >= 0)
    // Who is alone takes nothing from others.
    for (const lane of PRIORITIES) if (present.length === 1 || !present.includes(lane)) this.#owed[lane] = 0
    const owed = PRIORITIES.filter((lane) => this.#owed[lane] > 0).sort((a, b) => this.#owed[b] - this.#owed[a])
    const lanes = [...owed, TURNS[this.#turn] as Priority, ...PRIORITIES]
    return lanes.map(placeOf).find((place) => place >= 0) as number
  }
}
