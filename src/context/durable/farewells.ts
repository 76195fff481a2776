import { GatewayError } from '../../errors.ts'
import type { Logger } from '../../logger.ts'
import { loggable } from '../../util/loggable.ts'
import { sleep } from '../../util/sleep.ts'

/** How long they may take in all, in ms. */
const MOST_MS = 2_000

/** What a handler wants to be done before its task is parked: `onSuspend`. */
export class Farewells {
  readonly #callbacks: (() => void | Promise<void>)[] = []

  /** @throws GatewayError `GW_INVALID_ARGUMENT` for what cannot be called. */
  add(callback: () => void | Promise<void>): void {
    if (typeof callback !== 'function') {
      const reason = 'must be a function'
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'the callback of onSuspend', value: callback, reason })
    }
    this.#callbacks.push(callback)
  }

  /**
   * Calls all of them at once, and waits a while for them, and until Redis has what they emit, which they need not await;
   * what one throws is logged.
   */
  async say(flushed: () => Promise<void>, logger: Logger): Promise<void> {
    if (this.#callbacks.length === 0) return
    const late = new AbortController()
    const all = this.#callbacks.map(async (callback) => {
      try {
        await callback()
        await flushed()
      } catch (error) {
        logger.error({ err: loggable(error) }, 'a callback of onSuspend threw')
      }
    })
    await Promise.race([Promise.all(all), sleep(MOST_MS, late.signal)])
    late.abort()
  }
}
