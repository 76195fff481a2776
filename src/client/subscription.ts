import { GatewayError } from '../errors.ts'
import type { SessionEvent } from '../protocol/event.ts'
import { compareEntryIds, idBefore } from '../redis/streams.ts'
import { type DataReader, nextLength, type Push } from '../store/data-reader.ts'
import type { TaskRecords } from '../store/task-records.ts'
import { deferred } from '../util/deferred.ts'
import { onAbort } from '../util/on-abort.ts'
import { sleep } from '../util/sleep.ts'
import { AWAY_MS, isAway } from './away.ts'
import { Callers, Yielded } from './callers.ts'
import { EndWatch } from './end-watch.ts'
import { EventBuffer } from './event-buffer.ts'
import { gapEvent } from './own-events.ts'
import type { FeedListener, SessionFeeds } from './session-feeds.ts'
import type { SubscribeOptions } from './subscribe-options.ts'
import { TaskFilter } from './task-filter.ts'

/** What the subscriptions of one client share. */
export interface SubscriptionResources {
  readonly feeds: SessionFeeds
  readonly reader: DataReader
  readonly records: TaskRecords
}

/** Events of a page: of the first one, and at most. */
const FIRST_PAGE = 64
const PAGE = 256

/**
 * One reader of a session. Its truth is the buffer's `cursor`, the id of the last event that went into it. While `live`, a
 * push whose predecessor is at or before the cursor is appended; any other push, a doubt, or a full buffer makes it
 * `behind`, and then the consumer's next call reads pages from the stream until it has caught up. So nothing is skipped
 * or repeated, and a slow consumer costs a bounded buffer. A server that is away is waited for. Who waits for a task's
 * end gets it by {@link EndWatch} where the stream does not bring it.
 */
export class Subscription implements AsyncIterableIterator<SessionEvent>, FeedListener {
  readonly #resources: SubscriptionResources
  readonly #sessionId: string
  readonly #options: SubscribeOptions
  readonly #opened: Promise<void>
  readonly #follow: boolean
  readonly #filter: TaskFilter
  /** Of the one task that is followed, if it is one. */
  readonly #endWatch: EndWatch | undefined
  readonly #buffer = new EventBuffer()
  /** Events of the next page. */
  #pageLength = FIRST_PAGE
  /** The cursor is an estimate that lies before the first event wanted: not all that is missing after it is a gap. */
  #estimated = false
  #live = false
  #doubted = false
  #isOpen = false
  #isLooking = false
  #ended = false
  /** Why it has ended, until somebody is told. */
  #failure: unknown
  readonly #closed = deferred()
  readonly #away = new AbortController()
  #leaveSignal: (() => void) | undefined
  readonly #callers: Callers

  constructor(resources: SubscriptionResources, sessionId: string, options: SubscribeOptions) {
    this.#resources = resources
    this.#sessionId = sessionId
    this.#options = options
    this.#follow = options.follow ?? true
    const { messageId, tree = false, idleTimeoutMs } = options
    this.#callers = new Callers(idleTimeoutMs, () => this.#onIdle())
    this.#filter = new TaskFilter(messageId, tree, (id) => this.#endWatch?.isPast(id) === true)
    if (messageId !== undefined) this.#endWatch = this.#watchEnd(messageId)
    this.#opened = this.#open()
    this.#opened.then(
      () => {
        this.#isOpen = true
        // Who begins at the end is there at once, instead of reading all that is said until he asks for the first event.
        if (this.#isFromNow && !this.#ended) void this.#look()
        else this.#serve()
      },
      (error: unknown) => {
        if (!(error instanceof GatewayError) || error.code !== 'GW_CLOSED') this.#failure = error
        this.#end()
      },
    )
    if (options.signal?.aborted) this.#end()
    else if (options.signal) this.#leaveSignal = onAbort(options.signal, () => this.#end())
  }

  /** Resolves when the position is fixed and the session is heard: no event written from then on is missed. */
  opened(): Promise<void> {
    return this.#opened
  }

  /** Resolves when the subscription has ended, for whatever reason. */
  get ended(): Promise<void> {
    return this.#closed.promise
  }

  /** Says that the task of `messageId` was accepted by Redis, so that its loss would be noticed. */
  expectTask(): void {
    this.#endWatch?.expect()
  }

  /** Calls that overlap are answered one after the other, as a generator does. */
  next(): Promise<IteratorResult<SessionEvent>> {
    if (this.#callers.isEmpty && this.#isOpen) {
      const event = this.#take()
      if (event !== undefined) return Promise.resolve(new Yielded(event))
    }
    const answer = this.#callers.wait()
    this.#serve()
    return answer
  }

  async return(): Promise<IteratorResult<SessionEvent>> {
    this.#end()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  onPush({ before, events, weight }: Push): void {
    if (!this.#live) return
    const { cursor } = this.#buffer
    const isNext = before === cursor
    if (!isNext && compareEntryIds((events.at(-1) as SessionEvent).id, cursor) <= 0) return
    const wanted = this.#filter.sift(events)
    const isTooMuch = wanted.length > 0 && this.#buffer.overflows(wanted.length, weight)
    if (isTooMuch || (!isNext && compareEntryIds(before, cursor) > 0)) this.#live = false
    else this.#append(isNext ? events : this.#buffer.unseenOf(events))
    this.#serve()
  }

  onDoubt(): void {
    this.#live = false
    this.#doubted = true
    this.#endWatch?.wake()
    this.#serve()
  }

  onCheck(): void {
    if (this.#endWatch === undefined) return
    this.#endWatch.wake()
    this.#serve()
  }

  /** Gives those who wait what there is; with nothing there for the first of them, sees to it that something comes. */
  #serve(): void {
    while (!this.#callers.isEmpty) {
      const event = this.#take()
      if (event === undefined) break
      this.#callers.serve(event)
    }
    if (this.#callers.isEmpty) return
    if (this.#ended || this.#filter.isDone) this.#end()
    else if (this.#isOpen && !this.#isLooking) this.#seek()
  }

  #onIdle(): void {
    if (this.#isOpen) this.#serve()
    else void this.#knock()
  }

  /** Nothing came while it opens: a server that is there is waited for all the same, for it may have something to tell. */
  async #knock(): Promise<void> {
    try {
      await this.#resources.reader.lastId(this.#sessionId)
    } catch (error) {
      if (!this.#isOpen) await this.#bear(error)
    }
  }

  #seek(): void {
    if (this.#buffer.first !== undefined || !this.#live || this.#endWatch?.isDue) void this.#look()
    else if (!this.#follow || this.#callers.isIdle) this.#end()
  }

  #take(): SessionEvent | undefined {
    for (;;) {
      const event = this.#buffer.first
      if (event === undefined || this.#ended || this.#filter.isDone || this.#filter.isUnknown(event)) return undefined
      this.#buffer.shift()
      if (this.#filter.wants(event)) return event
    }
  }

  async #open(): Promise<void> {
    const { feeds } = this.#resources
    const listening = this.#follow ? feeds.listen(this.#sessionId, this) : undefined
    // Asked for in the same breath: what this client sends after it has subscribed comes after the position.
    const position = this.#position()
    await Promise.all([listening, position])
    this.#buffer.startAfter(await position)
  }

  get #isFromNow(): boolean {
    const { after, messageId } = this.#options
    return after === '$' || (after === undefined && messageId === undefined)
  }

  #position(): Promise<string> | string {
    const { after } = this.#options
    if (after === '0') return '0-0'
    if (after !== undefined && after !== '$') return after
    if (this.#isFromNow || this.#endWatch === undefined) return this.#resources.reader.lastId(this.#sessionId)
    this.#estimated = true
    return this.#endWatch.start()
  }

  #watchEnd(messageId: string): EndWatch {
    const { records, reader, feeds } = this.#resources
    const lookSoon = () => feeds.checkSoon(this.#sessionId)
    const { after } = this.#options
    const ref = { sessionId: this.#sessionId, messageId }
    return new EndWatch({ ref, records, reader, after: after === '$' ? undefined : after, lookSoon })
  }

  /** Looks at the stream or a record; of a server that is away, again after a while. */
  async #look(): Promise<void> {
    this.#isLooking = true
    try {
      const unknown = this.#buffer.first
      if (unknown !== undefined) await this.#trace(unknown)
      else if (this.#live) await this.#lookAtRecord()
      else await this.#catchUp()
    } catch (error) {
      await this.#bear(error)
    }
    this.#isLooking = false
    this.#serve()
  }

  async #bear(error: unknown): Promise<void> {
    if (!this.#follow || !isAway(error)) {
      // A push may have served all who waited: then the next one is told.
      if (!this.#ended) this.#failure = error
      this.#end()
      return
    }
    this.#live = false
    // It may have been too much for the time that there is.
    this.#pageLength = Math.ceil(this.#pageLength / 4)
    if (this.#callers.isIdle) this.#end()
    else await sleep(AWAY_MS, this.#away.signal)
  }

  #trace(event: SessionEvent): Promise<void> {
    return this.#filter.trace(event, async (messageId) => {
      const task = await this.#resources.records.get({ sessionId: this.#sessionId, messageId })
      return task?.parentMessageId ?? ''
    })
  }

  async #catchUp(): Promise<void> {
    const { reader, feeds } = this.#resources
    const doubted = this.#doubted
    this.#doubted = false
    this.#live = true
    const from = this.#buffer.cursor
    const length = this.#pageLength
    const page = await reader.page(this.#sessionId, from, length)
    if (page.events.length > 0) this.#pageLength = nextLength(page, PAGE)
    if (!page.contiguous) await this.#lookForGap(from, page.events[0])
    await this.#endWatch?.lookForLaterLives(page.events)
    // What was pushed meanwhile is in the buffer already; the page goes on from there.
    this.#append(this.#buffer.unseenOf(page.events))
    if (page.events.length === length) this.#live = false
    if (doubted && page.events.length > 0) feeds.markForeign(this.#sessionId)
  }

  async #lookForGap(from: string, next: SessionEvent | undefined): Promise<void> {
    const isEstimated = this.#estimated
    this.#estimated = false
    if (isEstimated && !(next && this.#endWatch?.hadBegunBefore(next.id))) return
    const first = await this.#resources.reader.trimmedUpTo(this.#sessionId)
    if (compareEntryIds(first, from) <= 0) return
    // Whoever goes on after it gets the first that is left.
    const id = idBefore(first)
    if (compareEntryIds(id, from) > 0) this.#buffer.insert(gapEvent(this.#sessionId, from, id))
  }

  async #lookAtRecord(): Promise<void> {
    const found = await this.#endWatch?.look(() => this.#buffer.cursor)
    if (found === 'behind') this.#live = false
    else if (found === 'known') this.#end()
    else if (found !== undefined) this.#append([found])
  }

  #append(events: readonly SessionEvent[]): void {
    this.#buffer.append(this.#filter.sift(events), events.at(-1)?.id)
    for (const event of events) this.#endWatch?.note(event)
  }

  #end(): void {
    if (!this.#ended) {
      this.#ended = true
      this.#leaveSignal?.()
      this.#resources.feeds.unlisten(this.#sessionId, this)
      this.#away.abort()
      this.#closed.resolve()
    }
    if (this.#callers.end(this.#failure)) this.#failure = undefined
  }
}
