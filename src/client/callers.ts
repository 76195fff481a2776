import type { SessionEvent } from '../protocol/event.ts'
import { type Deferred, deferred } from '../util/deferred.ts'

type Answer = IteratorResult<SessionEvent>

/** What `next` answers with an event. No literal, since there are so many; see `deferred`. */
export class Yielded implements IteratorYieldResult<SessionEvent> {
  readonly done = false
  readonly value: SessionEvent

  constructor(value: SessionEvent) {
    this.value = value
  }
}

/** Calls of `next` that wait for an event, oldest first, and for how long the first of them has been doing so. */
export class Callers {
  readonly #idleTimeoutMs: number | undefined
  readonly #onIdle: () => void
  readonly #waiting: Deferred<Answer>[] = []
  #timer: NodeJS.Timeout | undefined
  #isIdle = false

  /** `onIdle` is called when the first of them has waited for `idleTimeoutMs`. */
  constructor(idleTimeoutMs: number | undefined, onIdle: () => void) {
    this.#idleTimeoutMs = idleTimeoutMs
    this.#onIdle = onIdle
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  /** The first of them has waited as long as it may. */
  get isIdle(): boolean {
    return this.#isIdle
  }

  /** Waits behind the others. */
  wait(): Promise<Answer> {
    const caller = deferred<Answer>()
    this.#waiting.push(caller)
    if (this.#waiting.length === 1) this.#startIdle()
    return caller.promise
  }

  /** Gives the first of them what it waits for. */
  serve(value: SessionEvent): void {
    this.#waiting.shift()?.resolve(new Yielded(value))
    this.#startIdle()
  }

  /** Tells all of them that nothing more comes, and the first of them why, if that is a failure; true if it was told. */
  end(failure: unknown): boolean {
    clearTimeout(this.#timer)
    const callers = this.#waiting.splice(0)
    if (failure !== undefined) callers[0]?.reject(failure)
    for (const caller of callers) caller.resolve({ done: true, value: undefined })
    return callers.length > 0
  }

  /** The first of them does so from now on. */
  #startIdle(): void {
    if (this.#idleTimeoutMs === undefined) return
    clearTimeout(this.#timer)
    this.#isIdle = false
    if (this.isEmpty) return
    this.#timer = setTimeout(() => {
      this.#isIdle = true
      this.#onIdle()
    }, this.#idleTimeoutMs)
  }
}
