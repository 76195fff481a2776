import { GatewayError } from '../errors.ts'
import type { SessionEvent } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { nextLength, type Push } from '../store/data-reader.ts'
import { deferred } from '../util/deferred.ts'
import { onAbort } from '../util/on-abort.ts'
import { sleep } from '../util/sleep.ts'
import { AWAY_MS, isAway } from './away.ts'
import { EndWatch } from './end-watch.ts'
import type { FeedListener } from './session-feeds.ts'
import type { SubscriptionResources } from './subscription.ts'

/** No entry of a stream has a higher one. */
const HIGHEST_ID = '18446744073709551615-0'
/** Events of a page: of the first one, and at most. */
const FIRST_PAGE = 16
const MOST_OF_A_PAGE = 256

/**
 * Waits for the end of one task, by the pushes of its session and by its record. The stream is not read: with thousands who
 * wait in one session each of them would read what all the others are told. An end is always pushed where somebody listens,
 * so what was said before the channel was heard, or while it was not, is in the record.
 */
export class EndWait implements FeedListener {
  readonly #resources: SubscriptionResources
  readonly #ref: TaskRef
  readonly #watch: EndWatch
  readonly #ended = deferred()
  readonly #over = new AbortController()
  readonly #leaveSignal: (() => void) | undefined
  #isLooking = false
  #failure: unknown

  constructor(resources: SubscriptionResources, ref: TaskRef, signal: AbortSignal) {
    const { feeds, records, reader } = resources
    this.#resources = resources
    this.#ref = ref
    const lookSoon = () => feeds.checkSoon(ref.sessionId)
    this.#watch = new EndWatch({ ref, records, reader, after: undefined, lookSoon })
    feeds.listen(ref.sessionId, this).then(
      () => this.#wake(),
      (error: unknown) => this.#end(error),
    )
    // In the same breath: a task that is there now is known, should its record expire while nobody listens.
    void this.#look()
    if (signal.aborted) this.#end()
    else this.#leaveSignal = onAbort(signal, () => this.#end())
  }

  /** Resolves when the task has ended, or nobody waits any more. @throws GatewayError why it cannot be waited for. */
  async came(): Promise<void> {
    await this.#ended.promise
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Resolves when nobody waits any more, for whatever reason. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  /** Says that the task was accepted by Redis, so that its loss would be noticed. */
  expectTask(): void {
    this.#watch.expect()
  }

  /** Waits no more. */
  async return(): Promise<void> {
    this.#end()
  }

  onPush({ events }: Push): void {
    if (events.some((event) => this.#isEnd(event))) this.#end()
  }

  onDoubt(): void {
    this.#wake()
  }

  onCheck(): void {
    this.#wake()
  }

  #wake(): void {
    this.#watch.wake()
    void this.#look()
  }

  /** Looks at the record; that of a server that is away, again after a while. */
  async #look(): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    while (this.#watch.isDue && !this.#over.signal.aborted) {
      try {
        if (await this.#hasCome()) this.#end()
      } catch (error) {
        if (!isAway(error)) this.#end(error)
        this.#watch.wake()
        await sleep(AWAY_MS, this.#over.signal)
      }
    }
    this.#isLooking = false
  }

  /** @throws GatewayError `GW_TASK_LOST`. */
  async #hasCome(): Promise<boolean> {
    try {
      return (await this.#watch.look(() => HIGHEST_ID)) !== undefined
    } catch (error) {
      if (error instanceof GatewayError && error.code === 'GW_TASK_LOST' && (await this.#isOnStream())) return true
      throw error
    }
  }

  /** The stream may have the end of a task longer than the record. */
  async #isOnStream(): Promise<boolean> {
    let [after, length] = ['0-0', FIRST_PAGE]
    for (;;) {
      const page = await this.#resources.reader.page(this.#ref.sessionId, after, length)
      if (page.events.some((event) => this.#isEnd(event))) return true
      if (page.events.length < length) return false
      after = page.events.at(-1)?.id ?? after
      length = nextLength(page, MOST_OF_A_PAGE)
    }
  }

  #isEnd({ type, messageId }: SessionEvent): boolean {
    return type === 'done' && messageId === this.#ref.messageId
  }

  #end(failure?: unknown): void {
    if (this.#over.signal.aborted) return
    this.#failure = failure
    this.#leaveSignal?.()
    this.#resources.feeds.unlisten(this.#ref.sessionId, this)
    this.#over.abort()
    this.#ended.resolve()
  }
}
