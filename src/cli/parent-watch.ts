/** How often to look, in ms. */
const LOOK_EVERY_MS = 500

/**
 * npm ends on a signal without handing it on to what it has started (seen with npm 11, for `npx` and `npm start`): then
 * this process would go on, unknown to whoever has stopped it. So it takes the end of its parent for a SIGTERM.
 */
export class ParentWatch implements Disposable {
  readonly #timer: NodeJS.Timeout
  readonly #parent = process.ppid

  constructor() {
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS)
    this.#timer.unref()
  }

  /** Looks no more. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    if (process.ppid === this.#parent) return
    this[Symbol.dispose]()
    process.kill(process.pid, 'SIGTERM')
  }
}
