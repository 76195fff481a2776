import { type Deferred, deferred } from '../../util/deferred.ts'

/**
 * Hands recorded results out as they once came: one per turn of the event loop, of those that were asked for the one that
 * came first. So `Promise.race` and `Promise.all` see on a replay what they saw then.
 */
export class ReplayOrder {
  readonly #waiting: {
    readonly order: number
    readonly turn: Deferred<void>
    readonly ready: Promise<unknown> | undefined
  }[] = []
  #scheduled = false

  /**
   * Resolves when it is the turn of the result with that order.
   *
   * @param ready - Its turn lasts until this has settled, so that nothing overtakes a result that has to be read first.
   */
  turn(order: number, ready?: Promise<unknown>): Promise<void> {
    const turn = deferred()
    this.#waiting.push({ order, turn, ready })
    this.#schedule()
    return turn.promise
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      let first = 0
      for (let i = 1; i < this.#waiting.length; i += 1) {
        if ((this.#waiting[i]?.order ?? 0) < (this.#waiting[first]?.order ?? 0)) first = i
      }
      const [next] = this.#waiting.splice(first, 1)
      const goOn = () => {
        next?.turn.resolve()
        this.#scheduled = false
        if (this.#waiting.length > 0) this.#schedule()
      }
      if (next?.ready === undefined) goOn()
      else next.ready.then(goOn, goOn)
    })
  }
}
