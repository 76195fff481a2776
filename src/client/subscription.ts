import { GatewayError } from '../errors.ts'
import type { SessionEvent } from '../protocol/event.ts'
import { isRefusedForNow } from '../redis/patience.ts'
import { compareEntryIds } from '../redis/streams.ts'
import type { DataReader, Push } from '../store/data-streams.ts'
import type { TaskEnd, TaskRecords } from '../store/task-records.ts'
import { type Deferred, deferred } from '../util/deferred.ts'
import { sleep } from '../util/sleep.ts'
import type { FeedListener, SessionFeeds } from './session-feeds.ts'

/** How to follow a session. */
export interface SubscribeOptions {
  /**
   * Id of the last event already known: an id, `'0'` (from the beginning) or `'$'` (from now on). Default `'$'`; with
   * `messageId` the beginning of that task.
   */
  readonly after?: string
  /** Only this task's events; the subscription ends after its `done`. */
  readonly messageId?: string
  /** With `messageId`: also the events of the agents that the task called. Default false. */
  readonly tree?: boolean
  /** Ends the subscription when it aborts. */
  readonly signal?: AbortSignal
  /** Ends the subscription when nothing came for this long, in ms. Default never. */
  readonly idleTimeoutMs?: number
  /** False: end at the present end of the stream. Default true. */
  readonly follow?: boolean
}

/** What the subscriptions of one client share. */
export interface SubscriptionResources {
  readonly feeds: SessionFeeds
  readonly reader: DataReader
  readonly records: TaskRecords
}

const PAGE = 256
/** Events kept for a consumer that is slower than the stream; beyond that it reads from the stream again. */
const BUFFER = 512
/** Pause before the stream of a server that is away is looked at again. */
const AWAY_MS = 500
/** How much earlier than its record a task's first event can lie: the clocks of a failed-over pair of servers differ. */
const CLOCK_MARGIN_MS = 60_000

/**
 * One reader of a session. Its truth is `cursor`, the id of the last event that went into the buffer. While `live`, a
 * push whose predecessor is at or before the cursor is appended; any other push, a doubt, or a full buffer makes it
 * `behind`, and then the consumer's next call reads pages from the stream until it has caught up. So nothing is skipped
 * or repeated, and a slow consumer costs a bounded buffer. A server that is away is waited for. A task that was there
 * and is not any more, while its end was never seen, went with the server's data: who waits for it is told.
 */
export class Subscription implements AsyncIterableIterator<SessionEvent>, FeedListener {
  readonly #resources: SubscriptionResources
  readonly #sessionId: string
  readonly #options: SubscribeOptions
  readonly #opened: Promise<void>
  readonly #follow: boolean
  #buffer: SessionEvent[] = []
  #cursor = '0-0'
  /** The cursor is an estimate that lies before the first event wanted: what is missing after it is no gap. */
  #estimated = false
  #live = false
  #doubted = false
  /** The task's record is to be looked at once the stream has nothing more. */
  #checkRecord: boolean
  /** The task was accepted, as far as is known here: its record, an event of it or its sender said so. */
  #known = false
  /** The record of the known task was not there at the last look. */
  #missing = false
  readonly #members = new Set<string>()
  /** Ends of the task after which it lived again, by the ids of their events. */
  readonly #pastEnds = new Set<string>()
  #ended = false
  /** The task's `done` went into the buffer. */
  #doneSeen = false
  /** The task's `done` was handed out. */
  #done = false
  readonly #closed = deferred()
  readonly #away = new AbortController()
  #wake: Deferred<void> | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(resources: SubscriptionResources, sessionId: string, options: SubscribeOptions) {
    this.#resources = resources
    this.#sessionId = sessionId
    this.#options = options
    this.#follow = options.follow ?? true
    this.#checkRecord = options.messageId !== undefined
    if (options.messageId !== undefined) this.#members.add(options.messageId)
    this.#opened = this.#open()
    // Whoever iterates is told of the failure; here it only means that there is nothing to listen to any more.
    this.#opened.catch(() => this.#end())
    options.signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (options.signal?.aborted) this.#end()
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
    this.#known = true
  }

  next(): Promise<IteratorResult<SessionEvent>> {
    // Calls that overlap are answered one after the other, as a generator does.
    const answer = this.#turn.then(() => this.#next())
    this.#turn = Promise.allSettled([answer])
    return answer
  }

  async return(): Promise<IteratorResult<SessionEvent>> {
    this.#end()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  onPush({ before, events }: Push): void {
    if (!this.#live) return
    if (compareEntryIds((events.at(-1) as SessionEvent).id, this.#cursor) <= 0) return
    if (this.#buffer.length + events.length > BUFFER || compareEntryIds(before, this.#cursor) > 0) {
      this.#live = false
    } else {
      this.#append(events.filter(({ id }) => compareEntryIds(id, this.#cursor) > 0))
    }
    this.#wake?.resolve()
  }

  onDoubt(): void {
    this.#live = false
    this.#doubted = true
    this.#checkRecord = this.#options.messageId !== undefined
    this.#wake?.resolve()
  }

  onCheck(): void {
    if (this.#options.messageId === undefined) return
    this.#checkRecord = true
    this.#wake?.resolve()
  }

  async #next(): Promise<IteratorResult<SessionEvent>> {
    if (!(await this.#isOpen())) return { done: true, value: undefined }
    const { idleTimeoutMs } = this.#options
    const deadline = idleTimeoutMs === undefined ? undefined : performance.now() + idleTimeoutMs
    for (;;) {
      const event = this.#done ? undefined : this.#take()
      if (event !== undefined) return { done: false, value: event }
      if (this.#ended || this.#done) {
        this.#end()
        return { done: true, value: undefined }
      }
      if (!this.#live || this.#checkRecord) await this.#look(deadline)
      else if (!this.#follow || !(await this.#wait(deadline))) this.#end()
    }
  }

  /**
   * False if the subscription ended before the session was heard, or the client was closed; any other failure to open
   * is thrown.
   */
  async #isOpen(): Promise<boolean> {
    try {
      // Whoever ends it does not wait for a server that does not answer.
      await Promise.race([this.#opened, this.#closed.promise])
      return true
    } catch (error) {
      if (error instanceof GatewayError && error.code === 'GW_CLOSED') return false
      throw error
    }
  }

  #take(): SessionEvent | undefined {
    while (this.#buffer.length > 0 && !this.#ended) {
      const event = this.#buffer.shift() as SessionEvent
      const { messageId, tree } = this.#options
      if (messageId === undefined || event.type === 'gap') return event
      if (tree && this.#members.has(event.parentMessageId)) this.#members.add(event.messageId)
      if (!this.#members.has(event.messageId)) continue
      this.#done ||= event.type === 'done' && event.messageId === messageId && !this.#pastEnds.has(event.id)
      return event
    }
    return undefined
  }

  async #open(): Promise<void> {
    const { feeds } = this.#resources
    const listening = this.#follow ? feeds.listen(this.#sessionId, this) : undefined
    // Asked for in the same breath: what this client sends after it has subscribed comes after the position.
    const position = this.#position()
    await Promise.all([listening, position])
    this.#cursor = await position
    if (this.#ended) feeds.unlisten(this.#sessionId, this)
  }

  #position(): Promise<string> | string {
    const { after, messageId } = this.#options
    if (after === '$' || (after === undefined && messageId === undefined)) {
      return this.#resources.reader.lastId(this.#sessionId)
    }
    if (after === undefined) return this.#taskStart()
    return after === '0' ? '0-0' : after
  }

  /** An id before the first event of the task, from the time at which Redis made its record. */
  async #taskStart(): Promise<string> {
    this.#estimated = true
    const messageId = this.#options.messageId as string
    const task = await this.#resources.records.get({ sessionId: this.#sessionId, messageId })
    this.#known ||= task !== null
    return task === null ? '0-0' : `${Math.max(0, task.createdAt - CLOCK_MARGIN_MS)}-0`
  }

  /** Looks at the stream or the record; of a server that is away, again after a while. */
  async #look(deadline: number | undefined): Promise<void> {
    try {
      if (this.#live) await this.#lookAtRecord()
      else await this.#catchUp()
    } catch (error) {
      if (!this.#follow || !isAway(error)) {
        this.#end()
        throw error
      }
      this.#live = false
      if (deadline !== undefined && performance.now() > deadline) this.#end()
      else await sleep(AWAY_MS, this.#away.signal)
    }
  }

  async #catchUp(): Promise<void> {
    const { reader, feeds } = this.#resources
    const doubted = this.#doubted
    this.#doubted = false
    this.#live = true
    const from = this.#cursor
    const page = await reader.page(this.#sessionId, from, PAGE)
    if (!page.contiguous) await this.#lookForGap(from)
    await this.#lookForLaterLives(page.events)
    // What was pushed meanwhile is in the buffer already; the page goes on from there.
    this.#append(page.events.filter(({ id }) => compareEntryIds(id, this.#cursor) > 0))
    if (page.events.length === PAGE) this.#live = false
    if (doubted && page.events.length > 0) feeds.markForeign(this.#sessionId)
    if (this.#checkRecord && page.events.length < PAGE) await this.#lookAtRecord()
  }

  /** A dead letter that was redriven has a life after its end: then that was not the last word. */
  async #lookForLaterLives(events: readonly SessionEvent[]): Promise<void> {
    const { messageId } = this.#options
    const failures = events.filter(
      (event) => event.type === 'done' && event.status === 'FAILED' && event.messageId === messageId,
    )
    if (messageId === undefined || failures.length === 0) return
    const end = await this.#resources.records.getEnd({ sessionId: this.#sessionId, messageId })
    if (end === null) return
    for (const { id } of failures) {
      if (!('endId' in end) || compareEntryIds(end.endId, id) > 0) this.#pastEnds.add(id)
    }
  }

  async #lookForGap(from: string): Promise<void> {
    if (this.#estimated) {
      this.#estimated = false
      return
    }
    const first = await this.#resources.reader.trimmedUpTo(this.#sessionId)
    if (compareEntryIds(first, from) > 0) this.#buffer.push(this.#gap(from, first))
  }

  /** A task whose `done` event was trimmed or has expired still has its end in its record. */
  async #lookAtRecord(): Promise<void> {
    this.#checkRecord = false
    const { messageId } = this.#options
    if (messageId === undefined || this.#doneSeen) return
    const { records, reader } = this.#resources
    const end = await records.getEnd({ sessionId: this.#sessionId, messageId })
    if (end === null) {
      this.#miss(messageId)
      return
    }
    this.#known = true
    this.#missing = false
    if (!('endId' in end)) return
    const lastId = await reader.lastId(this.#sessionId)
    // A push may have brought it meanwhile.
    if (this.#doneSeen) return
    if (compareEntryIds(end.endId, this.#cursor) > 0 && compareEntryIds(end.endId, lastId) <= 0) {
      // Written between our page and this look, or trimmed by now: the next page tells.
      this.#live = false
      this.#checkRecord = true
      return
    }
    this.#append([doneEvent(end)])
  }

  /** One look is no proof: in a failover the record may come with the next start of the task. */
  #miss(messageId: string): void {
    if (!this.#known || this.#doneSeen) return
    if (this.#missing) throw new GatewayError('GW_TASK_LOST', { messageId })
    this.#missing = true
    this.#resources.feeds.checkSoon(this.#sessionId)
  }

  #append(events: readonly SessionEvent[]): void {
    if (events.length === 0) return
    const { messageId } = this.#options
    for (const event of events) {
      this.#buffer.push(event)
      if (event.messageId !== messageId) continue
      this.#known = true
      if (event.type === 'done' && !this.#pastEnds.has(event.id)) this.#doneSeen = true
    }
    this.#cursor = (events.at(-1) as SessionEvent).id
  }

  /** Waits for something to do; false when the idle time is up. */
  async #wait(deadline: number | undefined): Promise<boolean> {
    if (this.#buffer.length > 0 || !this.#live || this.#checkRecord || this.#ended) return true
    const wake = deferred()
    this.#wake = wake
    const left = deadline === undefined ? undefined : Math.max(0, deadline - performance.now())
    const timer = left === undefined ? undefined : setTimeout(() => wake.resolve(), left)
    await wake.promise
    clearTimeout(timer)
    this.#wake = undefined
    return (
      this.#buffer.length > 0 ||
      !this.#live ||
      this.#checkRecord ||
      deadline === undefined ||
      performance.now() < deadline
    )
  }

  #gap(fromId: string, id: string): SessionEvent {
    const nobody = {
      messageId: '',
      parentMessageId: '',
      agentType: '',
      traceId: '',
      attempt: 0,
      timestamp: 0,
      metadata: {},
    }
    return { ...nobody, id, type: 'gap', sessionId: this.#sessionId, fromId }
  }

  readonly #onAbort = () => this.#end()

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#resources.feeds.unlisten(this.#sessionId, this)
    this.#wake?.resolve()
    this.#away.abort()
    this.#closed.resolve()
  }
}

/** True if the server could not be asked, or has no answer for now. */
function isAway(error: unknown): boolean {
  return isRefusedForNow(error) || (error instanceof GatewayError && error.code === 'GW_REDIS_FAILED')
}

function doneEvent({ task, result, error, endId }: TaskEnd): SessionEvent {
  if (task.finishedAt === null) throw new GatewayError('GW_CLOSED', { what: 'record of an unfinished task' })
  const { sessionId, messageId, parentMessageId, agentType, traceId, attempt } = task
  return {
    ...{ id: endId, type: 'done', sessionId, messageId, parentMessageId, agentType, traceId, attempt, metadata: {} },
    timestamp: task.finishedAt,
    status: task.status as 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'EXPIRED',
    ...(error === null ? { result } : { error }),
  }
}
