/**
 * A promise that need not be awaited, and knows whether it is: its rejection does not end the process, but can be told
 * elsewhere. An `await` looks into a plain promise without asking it, so this is none.
 */
export class Attended<Value> extends Promise<Value> {
  #isAsked = false

  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }

  static of<Value>(promise: Promise<Value>): Attended<Value> {
    const attended = new Attended<Value>((resolve) => resolve(promise))
    attended.#leave(ignore)
    return attended
  }

  /** True as soon as somebody awaits it. */
  get isAsked(): boolean {
    return this.#isAsked
  }

  // biome-ignore lint/suspicious/noThenProperty: it is a promise
  override then<Done = Value, Failed = never>(
    onDone?: ((value: Value) => Done | PromiseLike<Done>) | null,
    onFailed?: ((error: unknown) => Failed | PromiseLike<Failed>) | null,
  ): Promise<Done | Failed> {
    this.#isAsked = true
    return super.then(onDone, onFailed)
  }

  /** Calls `tell` with the rejection if nobody has asked for it until the turn of the event loop after it. */
  ifUnheard(tell: (error: unknown) => void): this {
    this.#leave((error) => {
      setImmediate(() => {
        if (!this.#isAsked) tell(error)
      })
    })
    return this
  }

  #leave(onFailed: (error: unknown) => void): void {
    super.then(undefined, onFailed)
  }
}

function ignore(): void {
  // Whoever wants to know asks, or is told.
}
