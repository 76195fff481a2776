import { setMaxListeners } from 'node:events'
import type { GatewayError } from '../errors.ts'

/**
 * The one AbortSignal of an attempt. It is made when somebody asks for it, because most short tasks never do; aborting
 * works before as well as after.
 */
export class TaskSignal {
  #controller: AbortController | undefined
  #reason: GatewayError | undefined
  #listeners: ((reason: GatewayError) => void)[] | undefined

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      // A handler may do more than ten things at once that listen to it; it goes with the attempt.
      setMaxListeners(0, this.#controller.signal)
      if (this.#reason !== undefined) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  get reason(): GatewayError | undefined {
    return this.#reason
  }

  /** The first reason stays. */
  abort(reason: GatewayError): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#controller?.abort(reason)
    const listeners = this.#listeners ?? []
    this.#listeners = undefined
    for (const listener of listeners) listener(reason)
  }

  /** Calls `listener` once on abort, at once if that has happened already. */
  onAbort(listener: (reason: GatewayError) => void): void {
    if (this.#reason !== undefined) listener(this.#reason)
    else if (this.#listeners === undefined) this.#listeners = [listener]
    else this.#listeners.push(listener)
  }
}
