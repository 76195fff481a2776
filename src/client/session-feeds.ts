import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { EventDecoder } from '../protocol/event-decoder.ts'
import type { RedisConnections } from '../redis/connections.ts'
import type { DataReader, Push } from '../store/data-reader.ts'
import { type Deferred, deferred } from '../util/deferred.ts'

/** Who listens to a session's channel. */
export interface FeedListener {
  /** A push arrived. */
  onPush(push: Push): void
  /** Pushes may have been missed: look at the stream. */
  onDoubt(): void
  /** Some time has passed: look whether what is waited for can still come. */
  onCheck(): void
}

type Subscriber = ReturnType<RedisConnections['subscriber']>

const CHECK_EVERY_MS = 100
/** How long a session may be silent before its stream is looked at, in case a writer does not push: */
const DOUBT_AFTER_MS = 1_000
/** at first; each look that finds nothing doubles it, up to this. */
const DOUBT_MOST_MS = 4_000
/** The same for sessions in which entries were found that nobody pushed. */
const FOREIGN_DOUBT_AFTER_MS = 100
/** How often listeners are told that time has passed, however busy the session is. */
const PASSING_MS = 4_000
const CHECK_AGAIN_MS = 1_000
/** How often a server that no longer lets us hear a channel is asked whether it does. */
const ASK_AGAIN_MS = 1_000

interface Feed {
  readonly listeners: Set<FeedListener>
  /** Resolves when the channel is heard, or nobody wants it any more. */
  readonly heard: Deferred<void>
  readonly decoder: EventDecoder
  /** The connection was told of it, and keeps it from then on, also when it is made anew. */
  isAsked: boolean
  doubtAt: number
  pauseMs: number
  checkAt: number
}

/**
 * The doorbell of all sessions that this process reads: one pub/sub connection, one channel per session that somebody
 * reads. A push is parsed once for all its listeners. The stream is the truth: after a reconnect, and now and then when
 * a session is silent, the listeners are told to look at it. While there is no connection nothing is asked of it: those
 * who come and go in an outage would be commands that wait for its end, however many.
 */
export class SessionFeeds {
  readonly #connections: RedisConnections
  readonly #reader: DataReader
  readonly #logger: Logger
  readonly #feeds = new Map<string, Feed>()
  /** Channels that were left while there was no connection, and which it still keeps. */
  readonly #left = new Set<string>()
  #subscriber: Subscriber | undefined
  /** When to ask again for channels that the server did not let us hear any more. */
  #askAt = Number.POSITIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(connections: RedisConnections, reader: DataReader, logger: Logger) {
    this.#connections = connections
    this.#reader = reader
    this.#logger = logger
  }

  /** Adds a listener; resolves when the channel is heard. */
  listen(sessionId: string, listener: FeedListener): Promise<void> {
    const channel = this.#reader.channel(sessionId)
    let feed = this.#feeds.get(channel)
    if (feed === undefined) {
      const now = performance.now()
      const pauses = { doubtAt: now + DOUBT_AFTER_MS, pauseMs: DOUBT_AFTER_MS, checkAt: now + PASSING_MS }
      feed = { listeners: new Set(), heard: deferred(), decoder: new EventDecoder(), isAsked: false, ...pauses }
      this.#feeds.set(channel, feed)
      if (this.#connect().status === 'ready') void this.#hear(channel, feed)
      this.#timer ??= setInterval(() => this.#check(), CHECK_EVERY_MS)
    }
    feed.listeners.add(listener)
    return feed.heard.promise
  }

  /** Removes a listener; the channel is left with the last one. */
  unlisten(sessionId: string, listener: FeedListener): void {
    const channel = this.#reader.channel(sessionId)
    const feed = this.#feeds.get(channel)
    if (feed === undefined || !feed.listeners.delete(listener) || feed.listeners.size > 0) return
    this.#feeds.delete(channel)
    if (this.#feeds.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
    }
    feed.heard.resolve()
    if (!feed.isAsked) return
    if (this.#connect().status === 'ready') void this.#unsubscribe(channel)
    else this.#left.add(channel)
  }

  /** Says that entries were found in a session which nobody had pushed: it is looked at more often from now on. */
  markForeign(sessionId: string): void {
    const feed = this.#feeds.get(this.#reader.channel(sessionId))
    if (feed === undefined) return
    feed.pauseMs = FOREIGN_DOUBT_AFTER_MS
    feed.doubtAt = performance.now() + FOREIGN_DOUBT_AFTER_MS
  }

  /** Says that a listener has found something amiss and wants to look again soon. */
  checkSoon(sessionId: string): void {
    const feed = this.#feeds.get(this.#reader.channel(sessionId))
    if (feed !== undefined) feed.checkAt = Math.min(feed.checkAt, performance.now() + CHECK_AGAIN_MS)
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#feeds.clear()
  }

  #connect(): Subscriber {
    if (this.#subscriber !== undefined) return this.#subscriber
    const subscriber = this.#connections.subscriber((channels) => this.#forgotten(channels))
    const onMessage = (channel: string, payload: string) => this.#onMessage(channel, payload)
    subscriber.on('message', onMessage)
    subscriber.on('smessage', onMessage)
    // ioredis subscribes again by itself; what was said in between is in the stream.
    let wasReady = false
    subscriber.on('ready', () => {
      this.#makeUp()
      if (wasReady) for (const feed of this.#feeds.values()) this.#doubt(feed)
      wasReady = true
    })
    subscriber.on('error', (error: Error) => this.#refuse(error))
    this.#subscriber = subscriber
    // It goes on trying by itself, and the log says what is wrong.
    subscriber.connect().catch(() => undefined)
    return subscriber
  }

  /** Asks for what was wanted, and leaves what was left, while there was no connection. */
  #makeUp(): void {
    for (const [channel, feed] of this.#feeds) if (!feed.isAsked) void this.#hear(channel, feed)
    for (const channel of this.#left) if (!this.#feeds.has(channel)) void this.#unsubscribe(channel)
    this.#left.clear()
  }

  /** A server that says no, to a password for instance, is not waited for; one that is away is. */
  #refuse(error: Error): void {
    if (!isRefusal(error)) return
    for (const { isAsked, heard } of this.#feeds.values()) if (!isAsked) heard.reject(this.#toError(error))
  }

  /** Answers whether the server lets us. One that is away is waited for: on a Cluster ioredis gives up after some tries. */
  async #hear(channel: string, feed: Feed): Promise<boolean> {
    feed.isAsked = true
    try {
      await this.#subscribe(channel)
      feed.heard.resolve()
      return true
    } catch (error) {
      feed.isAsked = false
      if (this.#closed || isRefusal(error)) feed.heard.reject(this.#toError(error))
      else this.#askAt = Math.min(this.#askAt, performance.now() + ASK_AGAIN_MS)
      return false
    }
  }

  #forgotten(channels: readonly string[]): void {
    for (const channel of channels) {
      const feed = this.#feeds.get(channel)
      if (feed !== undefined) feed.isAsked = false
    }
    this.#askAt = performance.now() + ASK_AGAIN_MS
  }

  /** Asks for one of the channels that are not heard, since all may be too many to ask in vain; when that is granted, for all. */
  async #askAgain(): Promise<void> {
    const unheard = [...this.#feeds].filter(([, { isAsked }]) => !isAsked)
    this.#askAt = unheard.length === 0 ? Number.POSITIVE_INFINITY : performance.now() + ASK_AGAIN_MS
    // Whoever connects anew asks for all.
    if (this.#connect().status !== 'ready') return
    const [chosen] = unheard.splice(Math.floor(Math.random() * unheard.length), 1)
    if (chosen === undefined || !(await this.#hearAgain(chosen))) return
    await Promise.all(unheard.map((one) => this.#hearAgain(one)))
  }

  /** What was said until then is in the stream. */
  async #hearAgain([channel, feed]: [string, Feed]): Promise<boolean> {
    const isWanted = this.#feeds.get(channel) === feed && !feed.isAsked
    if (!isWanted || !(await this.#hear(channel, feed))) return false
    this.#doubt(feed)
    return true
  }

  async #subscribe(channel: string): Promise<void> {
    const subscriber = this.#connect()
    await (this.#connections.isCluster ? subscriber.ssubscribe(channel) : subscriber.subscribe(channel))
  }

  #toError(cause: unknown): GatewayError {
    if (this.#closed) return new GatewayError('GW_CLOSED', { what: 'client' }, { cause })
    const reason = errorMessage(cause)
    return new GatewayError('GW_REDIS_FAILED', { operation: 'a subscription', reason }, { cause })
  }

  async #unsubscribe(channel: string): Promise<void> {
    const subscriber = this.#connect()
    try {
      await (this.#connections.isCluster ? subscriber.sunsubscribe(channel) : subscriber.unsubscribe(channel))
      // Somebody may have come while we left: his subscription went out before our leave-taking was answered.
      if (this.#feeds.has(channel)) await this.#subscribe(channel)
    } catch (error) {
      if (!this.#closed) this.#logger.debug({ channel, reason: errorMessage(error) }, 'a channel could not be left')
    }
  }

  #onMessage(channel: string, payload: string): void {
    const feed = this.#feeds.get(channel)
    if (feed === undefined) return
    const push = this.#reader.parsePush(payload, feed.decoder)
    // Nothing of ours: should there be something in the stream, the next look finds it.
    if (push === undefined) return
    feed.doubtAt = performance.now() + DOUBT_AFTER_MS
    feed.pauseMs = DOUBT_AFTER_MS
    for (const listener of feed.listeners) listener.onPush(push)
  }

  #check(): void {
    const now = performance.now()
    if (this.#askAt <= now) void this.#askAgain()
    for (const feed of this.#feeds.values()) {
      if (feed.doubtAt <= now) this.#doubt(feed)
      if (feed.checkAt > now) continue
      feed.checkAt = now + PASSING_MS * (0.75 + Math.random() / 2)
      for (const listener of feed.listeners) listener.onCheck()
    }
  }

  #doubt(feed: Feed): void {
    // Spread over time, so that ten thousand silent sessions do not all ask at once.
    feed.pauseMs = Math.min(feed.pauseMs * 2, DOUBT_MOST_MS)
    feed.doubtAt = performance.now() + feed.pauseMs * (0.75 + Math.random() / 2)
    for (const listener of feed.listeners) listener.onDoubt()
  }
}

/** True if the server says no; one that is away says nothing. */
function isRefusal(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError'
}
