import { setImmediate as nextTurn } from 'node:timers/promises'
import { errorMessage } from '../errors.ts'
import type { Assignment } from '../execution/assignment.ts'
import type { Received, Reception } from '../execution/reception.ts'
import type { Logger } from '../logger.ts'
import type { Priority } from '../redis/keys.ts'
import { Service } from '../service.ts'
import { type ControlLeases, isGroupGone } from '../store/control-leases.ts'
import type { ControlReader, Ends } from '../store/control-reader.ts'
import type { ControlStream, TakenEntry } from '../store/control-streams.ts'
import { sleep } from '../util/sleep.ts'
import { untilAborted } from '../util/until-aborted.ts'
import type { LeaseKeeper } from './lease-keeper.ts'
import { Rota } from './rota.ts'
import { Settlement } from './settlement.ts'
import type { Seat, Slots } from './slots.ts'
import type { Turnstile } from './turnstile.ts'

/** So many reads are in different stages at once under load. Measured: with 1 either side waits, with 3 to 8 batches get small, and each has its price. */
const SHARES = 2
/** Whoever reads an answer later than this part of a lease makes sure that what it brought is still its own. */
const LATE_SHARE = 0.5
const RETRY_FIRST_MS = 50
const RETRY_MOST_MS = 500
const UNBLOCK_EVERY_MS = 20

/**
 * Runs a task: gives its seat back when its handler has come to an end, and resolves with `ended` when the task's end is
 * recorded, so that its entry can go, with `settled` when that is gone already, with `left` when somebody else is to end
 * it, and with `lost` when somebody else has it. Never rejects.
 */
export type RunTask = (assignment: Assignment, seat: Seat) => Promise<'settled' | 'ended' | 'left' | 'lost'>

/**
 * Takes tasks from the control streams, never more than there are free slots, and settles their entries when they have
 * their end.
 *
 * Three modes. `draining`: there may be more than was asked for, so the next read follows as soon as slots are free,
 * without blocking, in one write with the acks of what ended; {@link Rota} says in which order the lanes are asked. A
 * read that finds less than it has room for has found all lanes empty, and it is time to wait. With at least as many
 * free slots as streams in use that is `idle`: one blocking read over all of them, which takes what comes; one that comes back
 * full leads to `draining`. With fewer free slots such a read could bring more than there is room for; that is
 * `listening`: the worker waits, without taking, for something beyond where the streams ended, and then drains. While
 * all slots are in use nothing is read at all.
 */
export class Intake extends Service {
  readonly #reader: ControlReader
  readonly #reception: Reception
  readonly #leases: ControlLeases
  readonly #keeper: LeaseKeeper
  readonly #slots: Slots
  readonly #settlement: Settlement
  readonly #rota: Rota
  readonly #turnstile: Turnstile | undefined
  /** The lane by which it takes its turn: its highest. */
  readonly #lane: Priority
  readonly #run: RunTask
  readonly #fetchCount: number
  readonly #leaseMs: number
  readonly #onGroupGone: () => void
  readonly #beforeTaking: () => Promise<unknown>
  readonly #isOwnName: () => Promise<boolean>
  readonly #logger: Logger
  readonly #stopping = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #draining = true
  /** Where the streams ended when they were last found empty, until somebody waits for more. */
  #ends: Ends | undefined
  #failures = 0
  #losses = 0
  #givenBack: Promise<unknown> = Promise.resolve()

  constructor(options: {
    reader: ControlReader
    /** Shared by the intakes of a worker where there are several. */
    turnstile?: Turnstile | undefined
    reception: Reception
    leases: ControlLeases
    keeper: LeaseKeeper
    slots: Slots
    /** Runs a task; see {@link RunTask}. */
    run: RunTask
    fetchCount: number
    leaseMs: number
    /** Told when the consumer group was gone and is there again. */
    onGroupGone: () => void
    /** What has to be seen to before new tasks are taken. */
    beforeTaking: () => Promise<unknown>
    /** Whether no other process bears the worker's name by now, by which alone Redis tells owners apart. */
    isOwnName: () => Promise<boolean>
    logger: Logger
  }) {
    super()
    this.#reader = options.reader
    this.#reception = options.reception
    this.#leases = options.leases
    this.#keeper = options.keeper
    this.#slots = options.slots
    this.#run = options.run
    this.#fetchCount = options.fetchCount
    this.#leaseMs = options.leaseMs
    this.#onGroupGone = options.onGroupGone
    this.#beforeTaking = options.beforeTaking
    this.#isOwnName = options.isOwnName
    this.#logger = options.logger
    this.#rota = new Rota(options.reader.streams)
    this.#turnstile = options.turnstile
    const lane = options.reader.streams[0]?.priority
    this.#lane = lane === 'high' || lane === 'low' ? lane : 'normal'
    this.#settlement = new Settlement(options.reader, options.logger)
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
    this.#slots.wake()
    const ended = this.#loop.then(() => true)
    while (!(await Promise.race([ended, sleep(UNBLOCK_EVERY_MS).then(() => false)]))) void this.#unblock()
  }

  /** Resolves when every entry of an ended task is acked, and what there was no room for has been given back. */
  async settled(): Promise<void> {
    await this.#givenBack
    await this.#settlement.flushed()
  }

  async #consume(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#readOnce()
        await this.#takeUnheard()
        this.#failures = 0
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
    void this.accept(await this.#reader.takeUnheard((entry) => this.#keeper.holds(entry)))
    this.#losses = losses
  }

  async #readOnce(): Promise<void> {
    if (this.#slots.free <= 0) {
      await this.#slots.available()
      // Others that ended in the same turn free their slots and settle their entries too: one read for all of them.
      await nextTick()
      if (this.#stopping.signal.aborted || this.#slots.free <= 0) return
    }
    if (!this.#draining) await this.#waitOnce(this.#slots.free)
    else if (this.#turnstile === undefined) await this.#drainOnce()
    else await this.#turnstile.pass(this.#lane, () => this.#drainOnce())
  }

  /** Answers how many tasks it took. */
  async #drainOnce(): Promise<number> {
    await this.#beforeTaking()
    const { free } = this.#slots
    // Others may have been quicker while this waited for its turn.
    if (free <= 0 || this.#stopping.signal.aborted) return 0
    void this.#settlement.flush()
    // Half of the slots at a time: while the server begins or ends the tasks of one, others run here.
    const plan = this.#rota.plan(Math.min(free, Math.ceil(this.#slots.total / SHARES)))
    const { entries, ends, fault } = await this.#reader.take(plan, this.#perStream(free) === 0)
    this.#rota.report(entries, plan)
    this.#ends = ends
    const isFull = entries.length === plan.budget
    this.#draining = isFull || this.#rota.isNarrow(plan)
    void this.accept(entries)
    if (fault !== undefined) throw fault
    return entries.length
  }

  async #waitOnce(free: number): Promise<void> {
    const perStream = this.#perStream(free)
    if (perStream === 0) return this.#listen()
    const entries = await this.#reader.block(perStream)
    this.#rota.report(entries)
    this.#draining = entries.length >= perStream
    const accepted = this.accept(entries)
    if (this.#draining) return
    // A wait over many streams costs the server as much as a task. It goes out behind what these tasks say first.
    await untilAborted(accepted, this.#stopping.signal)
    await nextTurn()
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
    const ends = this.#ends
    this.#ends = undefined
    this.#draining = true
    if (ends !== undefined) await this.#reader.waitBeyond(ends)
  }

  /**
   * Takes what was read, or taken over from others: runs it, or gives back what there is no room for. Resolves when the
   * handlers have been called. Never rejects.
   */
  async accept(entries: readonly TakenEntry[]): Promise<void> {
    // What this worker still runs was only renewed by being taken over.
    const fresh = entries.filter((entry) => !this.#keeper.holds(entry))
    // A takeover may have been quicker for the last slots, and a stop may have come meanwhile.
    const room = this.#stopping.signal.aborted ? 0 : this.#slots.free
    const accepted = fresh.slice(0, room)
    const surplus = fresh.slice(room)
    if (surplus.length > 0) {
      const before = this.#givenBack
      this.#givenBack = this.#giveBack(surplus).then(() => before)
    }
    if (accepted.length === 0) return
    this.#slots.take(accepted.length)
    for (const entry of accepted) this.#keeper.hold(entry)
    // The next read leaves first: the server works on it while these run here.
    await nextTick()
    await this.#process(accepted)
  }

  async #process(entries: readonly TakenEntry[]): Promise<void> {
    let received: Received[]
    try {
      received = await this.#reception.receive(await this.#stillHeld(entries))
    } catch (error) {
      this.#logger.error({ err: error, entries: entries.map(({ id }) => id) }, 'tasks were taken but not begun')
      for (const entry of entries) {
        this.#slots.give()
        this.#close(entry, 'left')
      }
      return
    }
    for (const { entry, assignment } of received) {
      if (assignment === null) {
        this.#slots.give()
        this.#close(entry, 'ended')
      } else {
        void this.#run(assignment, this.#slots.seat()).then((ended) => this.#close(entry, ended))
      }
    }
  }

  /**
   * Those that are still this worker's. An event loop that was busy for long reads late what it was handed before, when
   * others, also another process under this name, may have taken it over; the leases are kept only from here on.
   */
  async #stillHeld(entries: readonly TakenEntry[]): Promise<readonly TakenEntry[]> {
    const late = this.#late(entries)
    if (late.length === 0) return entries
    const [lost, isOwnName] = await Promise.all([this.#leases.renewAll(late), this.#isOwnName()])
    const gone = isOwnName ? lost : new Set(late)
    if (gone.size === 0) return entries
    const ids = [...gone].map(({ stream, id }) => `${stream.key} ${id}`)
    this.#logger.info({ entries: ids }, 'what was taken was heard of too late: others have it')
    for (const entry of gone) {
      this.#keeper.drop(entry)
      this.#slots.give()
      this.#slots.close()
    }
    return entries.filter((entry) => !gone.has(entry))
  }

  #late(entries: readonly TakenEntry[]): readonly TakenEntry[] {
    const lateMs = performance.now() - this.#leaseMs * LATE_SHARE
    return entries.filter(({ askedAt }) => askedAt < lateMs)
  }

  /**
   * Acks the entry of a task that has its end; lets go of any other, for whoever takes it over. Of one that somebody has it
   * keeps off: that may be a process that bears this worker's name by now, which is all that tells owners apart.
   */
  #close(entry: TakenEntry, how: 'settled' | 'ended' | 'left' | 'lost'): void {
    this.#keeper.drop(entry)
    if (how === 'ended') this.#settlement.add(entry)
    if (how !== 'left') this.#slots.close()
    else void this.#surrender([entry]).then(() => this.#slots.close())
  }

  /**
   * Gives back what was never run: new entries to the stream, entries of the dead to the next who looks. What it hears of too
   * late may be with the next of its name. Never rejects.
   */
  async #giveBack(entries: readonly TakenEntry[]): Promise<void> {
    const isNew = ({ deliveries, maybeBegun, begun }: TakenEntry) =>
      deliveries === 1 && (!maybeBegun || typeof begun === 'number')
    try {
      if (this.#late(entries).length > 0 && !(await this.#isOwnName())) return
      await this.#surrender(entries.filter((entry) => !isNew(entry)))
      await this.#reader.release(entries.filter(isNew))
    } catch (error) {
      this.#logger.warn({ err: error }, 'entries could not be given back; their leases run out')
    }
  }

  async #surrender(entries: readonly TakenEntry[]): Promise<void> {
    try {
      await Promise.all(entries.map(({ stream, id }) => this.#leases.surrender(stream.key, [id])))
    } catch (error) {
      this.#logger.warn({ err: error }, 'entries could not be let go; their leases run out')
    }
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
    const reason = errorMessage(error)
    const isGone = isGroupGone(error)
    if (this.#failures === 1 && !isGone) this.#logger.warn({ reason }, 'reading tasks failed, trying again')
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

/** Resolves when what was put together in this turn has left; see `RedisClient`. */
function nextTick(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}
