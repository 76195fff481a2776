import type { HookName, HookStats, TaskFacts } from '../agent/hooks.ts'
import type { Logger } from '../logger.ts'
import { loggable } from '../util/loggable.ts'

/** So many timeouts in a row, and a hook is left out for a while. */
const MOST_TIMEOUTS = 3
const PAUSE_MS = 30_000
/** Failures that are logged in a minute; the next line says how many were not. */
const MOST_LINES = 20
const MINUTE_MS = 60_000

/**
 * One hook of one plugin. A call never throws and takes no longer than its time; what goes wrong is logged and counted.
 *
 * Two modes: `open`, and after three timeouts in a row `paused`, in which calls are left out. After 30 s the next call is
 * a trial: if it is in time the hook is open again, else it is paused again.
 */
export class Hook<Event extends object> {
  readonly name: HookName
  readonly #run: (event: Event) => unknown
  readonly #timeoutMs: number
  readonly #logger: Logger
  readonly #stats = { calls: 0, failures: 0, timeouts: 0, skipped: 0, totalMs: 0, maxMs: 0 }
  #timeoutsInRow = 0
  #pausedUntil = 0
  #minuteBegan = 0
  #lines = 0
  #unlogged = 0

  /** @param logger - Names the plugin. */
  constructor(options: {
    name: HookName
    run: (event: Event) => unknown
    timeoutMs: number
    logger: Logger
  }) {
    this.name = options.name
    this.#run = options.run
    this.#timeoutMs = options.timeoutMs
    this.#logger = options.logger
  }

  get stats(): HookStats {
    return { ...this.#stats }
  }

  /** Calls the plugin; answers a promise, which never rejects, only if there is something to wait for. */
  call(event: Event): Promise<void> | undefined {
    const began = performance.now()
    if (began < this.#pausedUntil) {
      this.skip()
      return undefined
    }
    this.#stats.calls += 1
    try {
      const running = this.#run(event)
      if (isThenable(running)) return this.#wait(running, event, began)
    } catch (error) {
      this.#failed(error, event)
    }
    this.#ended(began)
    return undefined
  }

  /** Counts a call that is not made. */
  skip(): void {
    this.#stats.skipped += 1
  }

  #wait(running: PromiseLike<unknown>, event: Event, began: number): Promise<void> {
    return new Promise((resolve) => {
      let isLate = false
      const timer = setTimeout(() => {
        isLate = true
        this.#timedOut(event, began)
        resolve()
      }, this.#timeoutMs)
      const settled = () => {
        clearTimeout(timer)
        if (!isLate) this.#ended(began)
        resolve()
      }
      // As an await would do, whose `then` may throw.
      Promise.resolve(running).then(settled, (error: unknown) => {
        this.#failed(error, event)
        settled()
      })
    })
  }

  #ended(began: number): void {
    this.#timeoutsInRow = 0
    this.#took(performance.now() - began)
  }

  #failed(error: unknown, event: Event): void {
    this.#stats.failures += 1
    this.#log({ err: loggable(error) }, event, 'a hook of a plugin threw')
  }

  #timedOut(event: Event, began: number): void {
    this.#stats.timeouts += 1
    this.#took(performance.now() - began)
    this.#timeoutsInRow += 1
    this.#log({ timeoutMs: this.#timeoutMs }, event, 'a hook of a plugin takes too long and is not waited for')
    if (this.#timeoutsInRow < MOST_TIMEOUTS) return
    this.#pausedUntil = performance.now() + PAUSE_MS
    const { name: hook } = this
    this.#logger.warn({ hook, pauseMs: PAUSE_MS }, 'a hook of a plugin is left out for a while')
  }

  #took(ms: number): void {
    this.#stats.totalMs += ms
    this.#stats.maxMs = Math.max(this.#stats.maxMs, ms)
  }

  /** A hook that fails for every chunk must not drown all other lines. */
  #log(fields: object, event: Event, message: string): void {
    const now = performance.now()
    if (now - this.#minuteBegan > MINUTE_MS) {
      this.#minuteBegan = now
      this.#lines = 0
    }
    this.#lines += 1
    if (this.#lines > MOST_LINES) {
      this.#unlogged += 1
      return
    }
    const ids = 'task' in event ? idsOf(event.task as TaskFacts) : {}
    const unlogged = this.#unlogged === 0 ? {} : { unlogged: this.#unlogged }
    this.#unlogged = 0
    this.#logger.error({ ...fields, hook: this.name, ...ids, ...unlogged }, message)
  }
}

function idsOf({ sessionId, messageId, traceId, attempt }: TaskFacts): object {
  return { sessionId, messageId, traceId, attempt }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
