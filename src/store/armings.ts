/**
 * Sessions whose TTLs this process has re-armed in the present minute, so that not every write has to do it. All are
 * forgotten when the minute is over, which also bounds the memory.
 */
export class Armings {
  readonly #periodMs: number
  #armed = new Set<string>()
  #until = 0

  /** @param periodMs - A session is re-armed once in so many ms. */
  constructor(periodMs: number) {
    this.#periodMs = periodMs
  }

  /** True if the session is due for a re-arming, which the caller then does. */
  isDue(sessionId: string): boolean {
    const now = performance.now()
    if (now >= this.#until) {
      this.#armed = new Set()
      this.#until = now + this.#periodMs
    }
    if (this.#armed.has(sessionId)) return false
    this.#armed.add(sessionId)
    return true
  }
}
