import type { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { Attended } from '../util/attended.ts'
import { loggable } from '../util/loggable.ts'

/** So many failures of an attempt are logged. */
const MOST_TOLD = 10

interface Failure {
  readonly promise: Attended<unknown>
  readonly error: unknown
  readonly about: { readonly call: string; readonly name: string | undefined }
}

/** Makes of a call's promise one that need not be awaited; see {@link UnheardCalls.watch}. */
export type WatchCall = <Value>(call: string, called: Promise<Value>, name?: string) => Promise<Value>

/**
 * The calls of one attempt that fail and that nobody awaits. A handler may begin several, and await them one after the
 * other: so they are not told of before its end. From there on each is told of as it fails.
 */
export class UnheardCalls {
  readonly #attempt: { readonly reason: GatewayError | undefined }
  readonly #logger: () => Logger
  #failures: Failure[] = []
  #told = 0
  #isHandled: boolean

  /**
   * @param attempt - Its signal: what broke it off is told by its end.
   * @param isHandled - The handler has come to its end already.
   */
  constructor(attempt: { readonly reason: GatewayError | undefined }, logger: () => Logger, isHandled: boolean) {
    this.#attempt = attempt
    this.#logger = logger
    this.#isHandled = isHandled
  }

  /** The same promise, whose rejection does not end the process where nobody awaits it, or not yet. */
  watch<Value>(call: string, called: Promise<Value>, name?: string): Promise<Value> {
    const attended = Attended.of(called)
    return attended.ifUnheard((error) => this.#failed({ promise: attended, error, about: { call, name } }))
  }

  /** The handler has come to its end, and awaits nothing any more. */
  handled(): void {
    this.#isHandled = true
    for (const failure of this.#failures.splice(0)) this.#tell(failure)
  }

  #failed(failure: Failure): void {
    if (this.#isHandled) {
      this.#tell(failure)
      return
    }
    // Those that were awaited after all make room.
    if (this.#failures.length >= MOST_TOLD) this.#failures = this.#failures.filter(({ promise }) => !promise.isAsked)
    if (this.#failures.length < MOST_TOLD) this.#failures.push(failure)
  }

  #tell({ promise, error, about }: Failure): void {
    if (promise.isAsked || error === this.#attempt.reason || this.#told >= MOST_TOLD) return
    this.#told += 1
    this.#logger().warn({ ...about, err: loggable(error) }, 'a call that nobody awaited has failed')
  }
}
