import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { isOfLostConnection } from '../redis/call-errors.ts'
import { Service } from '../service.ts'
import { sleep } from '../util/sleep.ts'

export interface PatrolOptions {
  /** One round; answers how long to rest after it, in ms. `signal` aborts when the patrol is to stop. */
  readonly round: (signal: AbortSignal) => Promise<number>
  /** How long to rest, in ms, after so many rounds in a row that failed. */
  readonly retryMs: (failures: number) => number
  /** What is said when a round fails; once, until one succeeds again. That a connection is lost says that itself. */
  readonly complaint: string
  /** Said beside the complaint. */
  readonly details?: object
  readonly logger: Logger
}

/**
 * A loop that lives through every failure: makes a round, rests, makes the next. The rounds never overlap; `stop()` waits
 * for the one under way, and cuts the rest short.
 */
export class Patrol extends Service {
  readonly #options: PatrolOptions
  readonly #stopping = new AbortController()
  #waking = new AbortController()
  #loop: Promise<void> = Promise.resolve()

  constructor(options: PatrolOptions) {
    super()
    this.#options = options
  }

  /** Cuts the rest short; during a round, the rest after it, for that round may have looked too early. */
  wake(): void {
    const waking = this.#waking
    this.#waking = new AbortController()
    waking.abort()
  }

  protected override onStart(): void {
    this.#loop = this.#run()
  }

  protected override async onStop(): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await this.#loop
  }

  async #run(): Promise<void> {
    const { round, retryMs, complaint, details, logger } = this.#options
    const { signal } = this.#stopping
    let failures = 0
    let hasComplained = false
    while (!signal.aborted) {
      const waking = this.#waking.signal
      let restMs: number
      try {
        restMs = await round(signal)
        failures = 0
        hasComplained = false
      } catch (error) {
        failures += 1
        if (!hasComplained && !signal.aborted && !isOfLostConnection(error)) {
          hasComplained = true
          logger.warn({ ...details, reason: errorMessage(error) }, `${complaint}, trying again`)
        }
        restMs = retryMs(failures)
      }
      if (restMs > 0) await sleep(restMs, waking)
    }
  }
}
