import { EXIT } from './failure.ts'

/** How long a worker that lost its watcher may take to stop; its Redis may be gone as well. */
const ORPHAN_STOP_MS = 5_000

/** What a worker tells the process that watches over it when it has heard the signal to stop. */
export const STOPPING = 'byclaw-worker: stopping'

const CODES = { SIGINT: EXIT.interrupted, SIGTERM: EXIT.terminated } as const

/**
 * Stands beside the worker's own handling of signals: remembers whether anybody asked for the stop, ends the process at
 * once when asked a second time, and stops the worker when the process that watches over it is gone. That process is told
 * that the signal was heard.
 */
export class SignalWatch implements Disposable {
  #asked = 0

  constructor() {
    process.on('SIGINT', this.#onSignal)
    process.on('SIGTERM', this.#onSignal)
    process.on('disconnect', this.#onOrphaned)
    // To listen for the end of the channel must not keep the process alive.
    process.channel?.unref()
    // False, and not undefined: there was a channel, and it is closed already.
    if (process.connected === false) this.#onOrphaned()
  }

  /** True when a signal asked the worker to stop. */
  get wasAsked(): boolean {
    return this.#asked > 0
  }

  /** Listens no more. */
  [Symbol.dispose](): void {
    process.off('SIGINT', this.#onSignal)
    process.off('SIGTERM', this.#onSignal)
    process.off('disconnect', this.#onOrphaned)
  }

  readonly #onSignal = (signal: 'SIGINT' | 'SIGTERM'): void => {
    this.#asked += 1
    if (this.#asked > 1) process.exit(CODES[signal])
    // Whoever is gone by now needs no word any more.
    if (process.connected) process.send?.(STOPPING, undefined, {}, () => undefined)
  }

  readonly #onOrphaned = (): void => {
    process.kill(process.pid, 'SIGTERM')
    setTimeout(() => process.exit(EXIT.failure), ORPHAN_STOP_MS).unref()
  }
}
