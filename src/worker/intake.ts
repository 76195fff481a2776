import { setImmediate as nextTurn } from 'node:timers/promises'
import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { isOfLostConnection } from '../redis/call-errors.ts'
import type { Priority } from '../redis/keys.ts'
import { Service } from '../service.ts'
import { isGroupGone } from '../store/control-leases.ts'
import type { ControlReader } from '../store/control-reader.ts'
import type { ControlStream, TakenEntry } from '../store/control-streams.ts'
import { sleep } from '../util/sleep.ts'
import { untilAborted } from '../util/until-aborted.ts'
import { Admission, type AdmissionOptions, nextTick } from './admission.ts'
import { Ahead } from './ahead.ts'
import type { LeaseKeeper } from './lease-keeper.ts'
import { Rota } from './rota.ts'
import { Settlement } from './settlement.ts'
import type { Slots } from './slots.ts'
import { StreamEnds } from './stream-ends.ts'
import type { Turnstile } from './turnstile.ts'

/** So many reads are in different stages at once under load. Measured: with 1 either side waits, with 3 to 8 batches get small, and each has its price. */
const SHARES = 2
const RETRY_FIRST_MS = 50
const RETRY_MOST_MS = 500
const UNBLOCK_EVERY_MS = 20

export interface IntakeOptions extends Omit<AdmissionOptions, 'settlement' | 'ahead' | 'stopping' | 'isApart'> {
  /** Shared by the intakes of a worker where there are several. */
  readonly turnstile?: Turnstile | undefined
  readonly fetchCount: number
  /** Told when the consumer group was gone and is there again. */
  readonly onGroupGone: () => void
  /** What has to be seen to before new tasks are taken. */
  readonly beforeTaking: () => Promise<unknown>
  /** Whether there is such a thing, which needs a slot. */
  readonly isCalled: () => boolean
  /** Resolves when what tasks have said until now is there. Never rejects. */
  readonly said: () => Promise<void>
}

/**
 * Takes tasks from the control streams: as many as there are free slots, and where tasks are short some ahead of them
 * (see {@link Ahead}).
 *
 * Three modes. `draining`: there may be more than was asked for, so the next read follows as soon as slots are free,
 * without blocking, in one write with the acks of what ended; {@link Rota} says in which order the lanes are asked. A
 * read that finds less than it has room for has found all lanes empty, and it is time to wait. With at least as many
 * free slots as streams in use that is `idle`: one blocking read over all of them, which takes what comes; one that comes back
 * full leads to `draining`. With fewer free slots such a read could bring more than there is room for; that is
 * `listening`: the worker waits, without taking, for something beyond where the streams ended, and then drains those
 * that have it. While all slots are in use nothing is read but what may wait ahead.
 */
export class Intake extends Service {
  readonly #reader: ControlReader
  readonly #keeper: LeaseKeeper
  readonly #slots: Slots
  readonly #settlement: Settlement
  readonly #ahead: Ahead
  readonly #admission: Admission
  readonly #rota: Rota
  readonly #turnstile: Turnstile | undefined
  /** The lane by which it takes its turn: its highest. */
  readonly #lane: Priority
  readonly #fetchCount: number
  readonly #onGroupGone: () => void
  readonly #beforeTaking: () => Promise<unknown>
  readonly #isCalled: () => boolean
  readonly #said: () => Promise<void>
  readonly #isOwnName: () => Promise<boolean>
  readonly #logger: Logger
  readonly #stopping = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #draining = true
  readonly #ends = new StreamEnds()
  #failures = 0
  #hasComplained = false
  #losses = 0

  constructor(options: IntakeOptions) {
    super()
    this.#reader = options.reader
    this.#keeper = options.keeper
    this.#slots = options.slots
    this.#fetchCount = options.fetchCount
    this.#onGroupGone = options.onGroupGone
    this.#beforeTaking = options.beforeTaking
    this.#isCalled = options.isCalled
    this.#said = options.said
    this.#isOwnName = options.isOwnName
    this.#logger = options.logger
    this.#rota = new Rota(options.reader.streams)
    this.#turnstile = options.turnstile
    const lane = options.reader.streams[0]?.priority
    this.#lane = lane === 'high' || lane === 'low' ? lane : 'normal'
    this.#settlement = new Settlement(options.reader, options.logger)
    this.#ahead = new Ahead(options.leaseMs)
    const { signal: stopping } = this.#stopping
    const isApart = this.#turnstile !== undefined
    this.#admission = new Admission({
      ...{ ...options, isApart },
      ...{ settlement: this.#settlement, ahead: this.#ahead, stopping },
    })
  }

  /** The streams this intake takes from. */
  get streams(): readonly ControlStream[] {
    return this.#reader.streams
  }

  protected override async onStart(): Promise<void> {
    await this.#reader.ensureGroups()
    this.#loop = this.#consume()
  }

  /** Stops reading; what was taken goes on. Call {@link settled} after the last task has ended. */
  protected override async onStop(): Promise<void> {
    this.#stopping.abort()
    this.#admission.close()
    this.#slots.wake()
    const ended = this.#loop.then(() => true)
    while (!(await Promise.race([ended, sleep(UNBLOCK_EVERY_MS).then(() => false)]))) void this.#unblock()
  }

  /** Takes what was taken over from others; see {@link Admission.take}. */
  accept(entries: readonly TakenEntry[]): Promise<void> {
    return this.#admission.take(entries)
  }

  /** Something has happened to a task that does not run here: it may be about to. */
  askAgain(): void {
    this.#ahead.askAgain()
  }

  /** Resolves when what ended is acked and what went back is back; see {@link Admission.settled}. */
  settled(): Promise<void> {
    return this.#admission.settled()
  }

  async #consume(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#readOnce()
        await this.#takeUnheard()
        this.#failures = 0
        this.#hasComplained = false
      } catch (error) {
        if (!this.#stopping.signal.aborted) await this.#recover(error)
      }
    }
  }

  /** A connection that is lost takes answers with it: what they brought is pending here, and nobody would run it. */
  async #takeUnheard(): Promise<void> {
    const { losses } = this.#reader
    if (losses === this.#losses || this.#stopping.signal.aborted) return
    // What is pending may be that of the next of this name, who was handed it and runs it.
    if (!(await this.#isOwnName())) return
    void this.#admission.take(await this.#reader.takeUnheard((entry) => this.#keeper.has(entry)))
    this.#losses = losses
  }

  /** How many may wait ahead. On a Cluster none: the lanes are read one by one there, and each would be ahead of the turns. */
  #allowance(): number {
    return this.#turnstile === undefined ? this.#ahead.allowance() : 0
  }

  /** How many may be read now. */
  #room(allowance = this.#allowance()): number {
    const { free } = this.#slots
    const { size } = this.#ahead
    // The blocking read is not to bring more than can start at once; and what goes first is not to stand behind those ahead.
    if (!this.#draining || this.#isCalled()) return size > 0 ? 0 : free
    // Where enough wait, a larger read a little later costs less.
    return size > allowance / 2 ? 0 : free + allowance - size
  }

  async #readOnce(): Promise<void> {
    if (this.#room() <= 0) {
      await this.#slots.available()
      // Others that ended in the same turn free their slots and settle their entries too: one read for all of them.
      await nextTick()
      if (this.#stopping.signal.aborted || this.#room() <= 0) return
    }
    if (!this.#draining) await this.#waitOnce(this.#slots.free)
    else if (this.#turnstile === undefined) await this.#drainOnce()
    else await this.#turnstile.pass(this.#lane, () => this.#drainOnce())
  }

  /** Answers how many tasks it took. */
  async #drainOnce(): Promise<number> {
    await this.#beforeTaking()
    // Asked once: it changes with time, and what is read beyond it would go back.
    const allowance = this.#allowance()
    const room = this.#room(allowance)
    // Others may have been quicker while this waited for its turn.
    if (room <= 0 || this.#stopping.signal.aborted) return 0
    void this.#settlement.flush()
    const { news } = this.#ends
    // Half of what it may have at a time: while the server begins or ends the tasks of one, others run here.
    const plan = this.#rota.plan(Math.min(room, Math.ceil((this.#slots.total + allowance) / SHARES)), news)
    const isNarrow = this.#rota.isNarrow(plan)
    const askedAt = performance.now()
    const { entries, ends, fault } = await this.#reader.take(plan, !isNarrow && this.#perStream(this.#slots.free) === 0)
    this.#ahead.noteRead(performance.now() - askedAt)
    this.#rota.report(entries, plan)
    const isFull = entries.length === plan.budget
    if (news.length > 0) this.#ends.follow(entries, !isFull)
    else this.#ends.learn(ends, askedAt)
    this.#draining = isFull || (isNarrow && this.#ends.known === undefined)
    const accepted = this.#admission.take(entries, allowance)
    if (fault !== undefined) throw fault
    if (!this.#draining) await this.#untilSaid(accepted)
    return entries.length
  }

  async #waitOnce(free: number): Promise<void> {
    const perStream = this.#perStream(free)
    if (perStream === 0) return this.#listen()
    this.#ends.forget()
    const entries = await this.#reader.block(perStream)
    this.#draining = entries.length >= perStream
    const accepted = this.#admission.take(entries)
    if (!this.#draining) await this.#untilSaid(accepted)
    this.#rota.report(entries)
  }

  /**
   * A wait goes out when what tasks say first is there: at the server it would stand in their way. Not behind their ends,
   * though: where agents of one worker call each other, who waits for an end has the next call.
   */
  async #untilSaid(accepted: Promise<void>): Promise<void> {
    // On a Cluster they may wait for a node that is away, and other lanes' tasks need not.
    if (this.#turnstile !== undefined) return
    const { signal } = this.#stopping
    await untilAborted(accepted, signal)
    await nextTurn()
    await untilAborted(this.#said(), signal)
  }

  /**
   * How many entries of each stream a blocking read may ask for, so that it does not bring more than there is room for.
   * It waits on streams that were all empty a moment ago, so what it might bring too much comes from lanes that were
   * never used before, and goes back.
   */
  #perStream(free: number): number {
    return Math.min(this.#fetchCount, Math.floor(free / this.#rota.lively))
  }

  async #listen(): Promise<void> {
    this.#draining = true
    const { known } = this.#ends
    if (known !== undefined) this.#ends.cameOn(await this.#reader.waitBeyond(known))
  }

  async #unblock(): Promise<void> {
    try {
      await this.#reader.unblock()
    } catch (error) {
      this.#logger.debug({ err: error }, 'the blocking read could not be ended early')
    }
  }

  /** Every error of the loop is one to live through: the groups may be gone, the server away. */
  async #recover(error: unknown): Promise<void> {
    this.#failures += 1
    this.#ends.forget()
    const reason = errorMessage(error)
    const isGone = isGroupGone(error)
    if (!this.#hasComplained && !isGone && !isOfLostConnection(error)) {
      this.#hasComplained = true
      this.#logger.warn({ reason }, 'reading tasks failed, trying again')
    }
    const delay = Math.min(RETRY_FIRST_MS * 2 ** (this.#failures - 1), RETRY_MOST_MS)
    await sleep(delay, this.#stopping.signal)
    if (isGone && !this.#stopping.signal.aborted) await this.#makeGroups(reason)
  }

  async #makeGroups(reason: string): Promise<void> {
    try {
      await this.#reader.ensureGroups()
    } catch (cause) {
      this.#logger.debug({ err: cause }, 'consumer groups could not be made yet')
      return
    }
    this.#logger.warn({ reason }, 'a consumer group was gone (Redis was flushed or lost data); it is made again')
    this.#onGroupGone()
  }
}
