import type { HistoryMessage, HistoryPage, HistoryStore } from '../agent/history.ts'
import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import { sleep } from '../util/sleep.ts'
import type { HistoryBuffer, SessionMessage, StoredMessage } from './buffer.ts'
import { Parcel } from './parcel.ts'
import type { ServerClock } from './server-clock.ts'
import { Turns } from './turns.ts'

/** How a worker's history is. */
export interface HistoryState {
  /** `OFF`: it has none. `DOWN`: it does not answer, and what is said waits on Redis until it does. */
  readonly status: 'OFF' | 'UP' | 'DOWN'
  /** Messages that this worker has put by on Redis so far, because the history did not take them in time. */
  readonly putBy: number
  /** Messages that no history will ever have: refused by the store, or there was no room to put them by. */
  readonly lost: number
}

/** A message that is not kept within this time is put by. */
const KEEP_MS = 2_000
const READ_MS = 10_000
const LOOK_WHEN_DOWN_MS = 1_000
const LOOK_MS = 10_000
/** As much of what cannot be read is logged, in characters. */
const MOST_SHOWN = 1_000
/** A session in which nobody ever says anything. */
const PROBE = 'byclaw-probe'

/**
 * Stands between the tasks of a worker and their history. What is said at about the same time goes to the store together,
 * unless the store keeps it at once; what is not kept in time, or not at all, is put by on Redis, so that the task goes on
 * and nothing is lost.
 *
 * States: `up` (the store is asked) → `down` with the first message that it did not take: from then on all go to Redis at
 * once. Once a second the store is told the first of what waits there, or, when other workers have told it all, is read;
 * when it answers → `up`, and it is told the rest. Each of the two moves is one line in the log. What workers that died
 * have left there is found by a slow look.
 */
export class HistoryKeeper extends Service {
  readonly #store: HistoryStore
  readonly #buffer: HistoryBuffer
  readonly #clock: ServerClock
  readonly #logger: Logger
  readonly #stopping = new AbortController()
  /** Messages on their way to Redis. */
  readonly #putting = new Set<Promise<void>>()
  readonly #turns = new Turns((parcels) => this.#send(parcels))
  /** The store has answered nothing so far: it needs no turn of the event loop. */
  #isPrompt = true
  #isDown = false
  #woken = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #putByCount = 0
  #lostCount = 0

  constructor(options: { store: HistoryStore; buffer: HistoryBuffer; clock: ServerClock; logger: Logger }) {
    super()
    this.#store = options.store
    this.#buffer = options.buffer
    this.#clock = options.clock
    this.#logger = options.logger
  }

  get state(): HistoryState {
    return { status: this.#isDown ? 'DOWN' : 'UP', putBy: this.#putByCount, lost: this.#lostCount }
  }

  /** Unix ms by Redis' clock. */
  now(): number {
    return this.#clock.now()
  }

  /**
   * Keeps a parcel, or puts it by. Resolves when one of both is done, and answers nothing if it is done already. Never
   * rejects.
   */
  keep(parcel: Parcel): Promise<void> | undefined {
    const kept = this.keepSoon(parcel)
    this.hurry()
    return kept
  }

  /** The same for what nobody waits for yet: others may go along with it until somebody calls {@link hurry}. */
  keepSoon(parcel: Parcel): Promise<void> | undefined {
    if (!this.#isDown && !this.#isPrompt) return this.#turns.add(parcel)
    parcel.close()
    return this.#isDown ? this.#putBy(parcel) : this.#keepNow(parcel)
  }

  /** Somebody waits for what was to be kept until now. */
  hurry(): void {
    this.#turns.hurry()
  }

  /** @throws GatewayError `GW_HISTORY_FAILED` when the store does not answer, `GW_INVALID_ARGUMENT` for a bad page. */
  async list(sessionId: string, page: HistoryPage = {}): Promise<readonly HistoryMessage[]> {
    try {
      return await inTime(this.#store.list(sessionId, page), READ_MS)
    } catch (error) {
      if (error instanceof GatewayError) throw error
      throw new GatewayError(
        'GW_HISTORY_FAILED',
        { operation: 'a read', reason: errorMessage(error) },
        { cause: error },
      )
    }
  }

  /** Forgets a session that was deleted, if nobody but this process can. */
  forget(sessionId: string): void {
    if (this.#store.isLocal !== true) return
    const clear = async () => this.#store.clear(sessionId) // one of somebody's own may throw at once
    clear().catch((error: unknown) => {
      this.#logger.warn({ err: error, sessionId }, 'a deleted session was not forgotten')
    })
  }

  protected override async onStart(): Promise<void> {
    await this.#clock.read()
    if (this.#store.isLocal !== true) this.#loop = this.#run()
  }

  protected override async onStop(): Promise<void> {
    this.#stopping.abort()
    this.#woken.abort()
    // After this its store may be closed at any moment.
    await this.#turns.flushed()
    // A store that does not answer is not waited for: what it was told waits on Redis still.
    if (!this.#isDown) await this.#loop
  }

  #keepNow(parcel: Parcel): Promise<void> | undefined {
    try {
      const kept = this.#store.append(parcel.sessionId, parcel.messages)
      if (kept === undefined) return undefined
      this.#isPrompt = false
      return this.#watch([parcel], [kept])
    } catch (error) {
      return this.#failedToKeep(parcel, error)
    }
  }

  async #send(parcels: readonly Parcel[]): Promise<void> {
    for (const parcel of parcels) parcel.close()
    if (this.#isDown) await Promise.all(parcels.map((parcel) => this.#putBy(parcel)))
    else
      await this.#watch(
        parcels,
        parcels.map(async (parcel) => this.#store.append(parcel.sessionId, parcel.messages)),
      )
  }

  /** Resolves when each is kept, or put by because the store did not take it in time. */
  async #watch(parcels: readonly Parcel[], tries: readonly Promise<void>[]): Promise<void> {
    try {
      const outcomes = await inTime(Promise.allSettled(tries), KEEP_MS)
      const failures = outcomes.map((outcome, index) =>
        outcome.status === 'rejected' ? this.#failedToKeep(parcels[index] as Parcel, outcome.reason) : undefined,
      )
      await Promise.all(failures)
    } catch (late) {
      await Promise.all(parcels.map((parcel) => this.#failedToKeep(parcel, late)))
    }
  }

  async #failedToKeep(parcel: Parcel, error: unknown): Promise<void> {
    const { sessionId, messages } = parcel
    const [message] = messages
    if (message === undefined) return
    // One that lives in this process is never away: what it does not take now it will not take later.
    if (!isRefusal(error) && this.#store.isLocal !== true) {
      this.#goDown(error)
      await this.#putBy(parcel)
    } else if (messages.length === 1) this.#lose({ sessionId, message }, errorMessage(error))
    // One of them is at fault, and the others are not to suffer for it.
    else await this.#send(messages.map((one) => new Parcel(sessionId, one)))
  }

  #goDown(error: unknown): void {
    if (this.#isDown) return
    this.#isDown = true
    const { name: history } = this.#store
    this.#logger.warn({ history, reason: errorMessage(error) }, 'the history is down, messages wait on Redis')
    this.#woken.abort()
  }

  #putBy({ sessionId, messages }: Parcel): Promise<void> {
    const tries = messages.map((message) => this.#putByOne({ sessionId, message }))
    const putting = Promise.all(tries).then(() => void this.#putting.delete(putting))
    this.#putting.add(putting)
    return putting
  }

  /** Never rejects. */
  async #putByOne(one: SessionMessage): Promise<void> {
    try {
      if (await this.#buffer.put(one)) this.#putByCount += 1
      else this.#lose(one, 'the history is down, and too many messages wait for it on Redis')
    } catch (error) {
      this.#lose(one, errorMessage(error))
    }
  }

  #lose({ sessionId, message: { messageId, role } }: SessionMessage, reason: string): void {
    this.#lostCount += 1
    this.#logger.error({ sessionId, messageId, role, reason }, 'a message is not in the history')
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        await this.#clock.read()
        await this.#look()
      } catch (error) {
        if (!signal.aborted) this.#logger.debug({ err: error }, 'what waits for the history was not told, trying again')
      }
      if (this.#isDown) await sleep(LOOK_WHEN_DOWN_MS, signal)
      else await sleep(LOOK_MS, this.#woken.signal)
      if (!signal.aborted) this.#woken = new AbortController()
    }
  }

  /** Tries a store that is down again, and tells it what waits. */
  async #look(): Promise<void> {
    const wasDown = this.#isDown
    if (wasDown && !(await this.#answers())) return
    this.#isDown = false
    const told = await this.#tellBuffered()
    if (this.#isDown) return
    const { name: history } = this.#store
    if (wasDown) this.#logger.info({ history, told }, 'the history is back')
    else if (told > 0) this.#logger.info({ history, told }, 'the history was told what waited for it on Redis')
  }

  /** True if the store takes a message that waits, or can be read where none does. */
  async #answers(): Promise<boolean> {
    // What the store did not take is what it is to be tried with: reads may work where writes do not.
    await Promise.all(this.#putting)
    const [oldest] = await this.#waiting()
    if (oldest !== undefined) return (await this.#tell([oldest])) === undefined
    return inTime(this.#store.list(PROBE, { limit: 1 }), READ_MS).then(
      () => true,
      () => false,
    )
  }

  /** Tells what waits on Redis, unless another worker is at it; answers how many messages that were. */
  async #tellBuffered(): Promise<number> {
    if ((await this.#buffer.length()) === 0 || !(await this.#buffer.take())) return 0
    let told = 0
    try {
      while (!this.#stopping.signal.aborted && (await this.#buffer.take())) {
        const stored = await this.#waiting()
        if (stored.length === 0) break
        const trouble = await this.#tell(stored)
        if (trouble !== undefined) {
          this.#goDown(trouble.reason)
          break
        }
        told += stored.length
      }
    } finally {
      await this.#buffer.leave()
    }
    return told
  }

  /** The oldest messages that wait on Redis; what cannot be read there is told and removed. */
  async #waiting(): Promise<readonly StoredMessage[]> {
    const { stored, unreadable } = await this.#buffer.page()
    for (const { entryId, data } of unreadable) {
      this.#lostCount += 1
      const about = { entryId, data: data.slice(0, MOST_SHOWN) }
      this.#logger.error(about, 'what waits for the history on Redis cannot be read, and is removed')
    }
    await this.#buffer.remove(unreadable.map(({ entryId }) => entryId))
    return stored
  }

  /**
   * Answers why the store does not take them now, or nothing: it has them, or will never take them, and they wait on Redis
   * no more.
   */
  async #tell(stored: readonly StoredMessage[]): Promise<{ readonly reason: unknown } | undefined> {
    const tries = stored.map(async ({ sessionId, message }) => this.#store.append(sessionId, [message]))
    try {
      const outcomes = await inTime(Promise.allSettled(tries), READ_MS)
      const refused: { readonly one: SessionMessage; readonly reason: unknown }[] = []
      for (const [index, outcome] of outcomes.entries()) {
        if (outcome.status === 'fulfilled') continue
        if (!isRefusal(outcome.reason)) return outcome
        refused.push({ one: stored[index] as SessionMessage, reason: outcome.reason })
      }
      for (const { one, reason } of refused) this.#lose(one, errorMessage(reason))
      await this.#buffer.remove(stored.map(({ entryId }) => entryId))
      return undefined
    } catch (reason) {
      return { reason }
    }
  }
}

/** True for what the store will never take. */
function isRefusal(error: unknown): boolean {
  return (
    error instanceof GatewayError && (error.code === 'GW_INVALID_ARGUMENT' || error.code === 'GW_PAYLOAD_TOO_LARGE')
  )
}

async function inTime<T>(answer: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
    timer.unref()
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}
