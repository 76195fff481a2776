import { type Deferred, deferred } from '../../util/deferred.ts'

/**
 * Hands recorded results out as they once came: one per turn of the event loop, of those that were asked for the one that
 * came first. So `Promise.race` and `Promise.all` see on a replay what they saw then.
 */
export class ReplayOrder {
  readonly #waiting: { readonly order: number; readonly turn: Deferred<void> }[] = []
  #scheduled = false

  /** Resolves when it is the turn of the result with that order. */
  turn(order: number): Promise<void> {
    const turn = deferred()
    this.#waiting.push({ order, turn })
    this.#schedule()
    return turn.promise
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      let first = 0
      for (let i = 1; i < this.#waiting.length; i += 1) {
        if ((this.#waiting[i]?.order ?? 0) < (this.#waiting[first]?.order ?? 0)) first = i
      }
      const [next] = this.#waiting.splice(first, 1)
      next?.turn.resolve()
      if (this.#waiting.length > 0) this.#schedule()
    })
  }
}
