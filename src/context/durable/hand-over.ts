import { type Deferred, deferred } from '../../util/deferred.ts'

/** A result that has come and is not with the handler yet. */
export interface Arrival {
  readonly order: number
  /** Resolves when it may go to the handler; undefined while whoever asked for it is not ready to take it. */
  turn: Deferred<void> | undefined
}

/**
 * The way of all results to a handler: in the order in which they came, and one per macrotask, whether they come now or
 * are recorded. So what the handler does with one is done before it sees the next, and `Promise.race`, and whoever asks
 * for something after a result, find on a replay what they found the first time. A result that comes now and is alone
 * goes at once.
 */
export class HandOver {
  /** By their orders. */
  readonly #arrivals: Arrival[] = []
  #expected = 0
  /** One has gone to the handler in this macrotask. */
  #isTaken = false
  /** Macrotasks that are asked for. */
  #turns = 0
  #isOver = false

  /** True if nothing is on its way to the handler. */
  get isIdle(): boolean {
    return this.#arrivals.length === 0
  }

  /** An operation is under way, until what this answers is called: its result may come together with another. */
  expect(): () => void {
    this.#expected += 1
    return () => {
      this.#expected -= 1
    }
  }

  /** A result has come: those of later orders are behind it until it is handed over, or forgotten. */
  arrive(order: number): Arrival {
    const arrival: Arrival = { order, turn: undefined }
    if (this.#isOver) return arrival
    let at = this.#arrivals.length
    while (at > 0 && (this.#arrivals[at - 1] as Arrival).order > order) at -= 1
    this.#arrivals.splice(at, 0, arrival)
    return arrival
  }

  /** Undefined if it goes to the handler now, else resolves when it does. */
  turn(arrival: Arrival): Promise<void> | undefined {
    if (!this.#isTaken && this.#arrivals[0] === arrival) {
      this.#arrivals.shift()
      this.#isTaken = this.#expected > 1 || this.#arrivals.length > 0
      this.#goOn()
      return undefined
    }
    return this.#queue(arrival)
  }

  /**
   * The same for a recorded result: others that came before it may be asked for in this macrotask, so it never goes now.
   *
   * @param ready - Nothing overtakes it until this has settled.
   */
  async replay(order: number, ready?: Promise<unknown>): Promise<void> {
    const arrival = this.arrive(order)
    try {
      await ready
    } finally {
      await this.#queue(arrival)
    }
  }

  /** Nobody takes it any more. */
  forget(arrival: Arrival): void {
    const at = this.#arrivals.indexOf(arrival)
    if (at < 0) return
    this.#arrivals.splice(at, 1)
    this.#goOn()
  }

  /** Nothing goes to the handler any more, not even what comes from now on. */
  end(): void {
    this.#isOver = true
    this.#arrivals.length = 0
  }

  #queue(arrival: Arrival): Promise<void> {
    arrival.turn = deferred()
    if (this.#isOver) return arrival.turn.promise
    // One for each, so that many do not wait for as many rounds of a busy event loop.
    this.#askForTurn()
    return arrival.turn.promise
  }

  #askForTurn(): void {
    this.#turns += 1
    setImmediate(() => {
      this.#turns -= 1
      this.#isTaken = false
      const [first] = this.#arrivals
      if (first?.turn !== undefined) {
        this.#arrivals.shift()
        this.#isTaken = true
        first.turn.resolve()
      }
      this.#goOn()
    })
  }

  #goOn(): void {
    const isNext = this.#isTaken || this.#arrivals[0]?.turn !== undefined
    if (isNext && this.#turns === 0) this.#askForTurn()
  }
}
