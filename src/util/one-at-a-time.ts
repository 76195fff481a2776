/**
 * Lets a piece of work be done one at a time: all who ask for it while it is under way, which may have begun before what
 * they ask for, have the next together.
 */
export class OneAtATime<Result> {
  readonly #work: () => Promise<Result>
  #running: Promise<Result> | undefined
  #next: Promise<Result> | undefined

  /** @param work - Must not reject. */
  constructor(work: () => Promise<Result>) {
    this.#work = work
  }

  run(): Promise<Result> {
    const running = this.#running
    if (running === undefined) return this.#begin()
    this.#next ??= running.then(() => {
      this.#next = undefined
      return this.run()
    })
    return this.#next
  }

  #begin(): Promise<Result> {
    this.#running = this.#work().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }
}
