import { PRIORITIES, type Priority } from '../redis/keys.ts'
import { TURNS } from './rota.ts'

/**
 * Keeps the rule of {@link Rota} on a Cluster, where each lane lies in a slot of its own and is read by itself: the reads
 * of one worker go one after the other, so that two cannot take the same free slot, and of those that want to go next
 * the one goes whose lane has its turn, else the one of the highest lane.
 */
export class Turnstile {
  readonly #waiting: { readonly lane: Priority; readonly enter: () => void }[] = []
  #isBusy = false
  #isScheduled = false
  #turn = 0

  /** Waits for its turn, then reads; `read` answers how many tasks it took. */
  async pass(lane: Priority, read: () => Promise<number>): Promise<void> {
    await new Promise<void>((enter) => {
      this.#waiting.push({ lane, enter })
      this.#schedule()
    })
    try {
      this.#turn = (this.#turn + (await read())) % TURNS.length
    } finally {
      this.#isBusy = false
      this.#schedule()
    }
  }

  /** Not at once: those who were woken by the same free slot are all to be there before one is chosen. */
  #schedule(): void {
    if (this.#isScheduled || this.#isBusy || this.#waiting.length === 0) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#isBusy = true
      const lanes = [TURNS[this.#turn], ...PRIORITIES]
      const places = lanes.map((lane) => this.#waiting.findIndex((one) => one.lane === lane))
      const [chosen] = this.#waiting.splice(places.find((place) => place >= 0) as number, 1)
      chosen?.enter()
    })
  }
}
