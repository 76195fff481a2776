/** So many of the first re-armings of a session are followed by a sweep; with all later ones goes one. */
const FIRST_SWEEPS = 1 / 16

/**
 * Sessions whose TTLs this process has re-armed in the present minute, so that not every write has to do it. All are
 * forgotten when the next minute is over, which also bounds the memory.
 */
export class Armings {
  readonly #periodMs: number
  readonly #chance: () => number
  readonly #clock: () => number
  #armed = new Set<string>()
  #before = new Set<string>()
  #until = 0

  /** @param periodMs - A session is re-armed once in so many ms. */
  constructor(
    periodMs: number,
    { chance = Math.random, clock = () => performance.now() }: { chance?: () => number; clock?: () => number } = {},
  ) {
    this.#periodMs = periodMs
    this.#chance = chance
    this.#clock = clock
  }

  /**
   * Says whether the session is due for a re-arming, which the caller then does; and if what has expired in it is to be
   * swept besides. There is nothing to sweep in a session of one conversation, which is what most are.
   */
  due(sessionId: string): 'no' | 'arm' | 'sweep' {
    const now = this.#clock()
    if (now >= this.#until) {
      this.#before = now < this.#until + this.#periodMs ? this.#armed : new Set()
      this.#armed = new Set()
      this.#until = now + this.#periodMs
    }
    if (this.#armed.has(sessionId)) return 'no'
    this.#armed.add(sessionId)
    return this.#before.has(sessionId) || this.#chance() < FIRST_SWEEPS ? 'sweep' : 'arm'
  }
}
