/**
 * A loop or connection with a life of its own: starts once, stops once, `stop()` waits until it really stands still,
 * and stopping what never started does no harm.
 *
 * States: `new` → `starting` → `running` → `stopping` → `stopped`; a failed start goes to `stopped` at once, and
 * `stop()` before `start()` likewise.
 */
export abstract class Service implements AsyncDisposable {
  #state: 'new' | 'starting' | 'running' | 'stopping' | 'stopped' = 'new'
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined

  get isRunning(): boolean {
    return this.#state === 'running' || this.#state === 'starting'
  }

  start(): Promise<void> {
    this.#starting ??= this.#runStart()
    return this.#starting
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#runStop()
    return this.#stopping
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  /** Brings the service up; what it opened before throwing, it closes itself. */
  protected abstract onStart(): Promise<void> | void
  /** Brings the service down; called at most once, and only after a start that succeeded. */
  protected abstract onStop(): Promise<void> | void

  /** Told of a stop that comes in the middle of the start, which it waits for: a start that can be broken off fails then. */
  protected onEarlyStop(): void {
    // Most starts take no time.
  }

  async #runStart(): Promise<void> {
    if (this.#state !== 'new') return
    this.#state = 'starting'
    try {
      await this.onStart()
      if (this.#state === 'starting') this.#state = 'running'
    } catch (error) {
      this.#state = 'stopped'
      throw error
    }
  }

  async #runStop(): Promise<void> {
    if (this.#state === 'new' || this.#state === 'stopped') {
      this.#state = 'stopped'
      return
    }
    if (this.#state === 'starting') this.onEarlyStop()
    // The one who called start() is told of its failure; here it only means that there is nothing to stop.
    const started = await (this.#starting ?? Promise.resolve()).then(
      () => true,
      () => false,
    )
    if (!started) return
    this.#state = 'stopping'
    try {
      await this.onStop()
    } finally {
      this.#state = 'stopped'
    }
  }
}
