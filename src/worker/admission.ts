import type { Assignment } from '../execution/assignment.ts'
import type { Ending, How } from '../execution/ending.ts'
import type { Received, Reception } from '../execution/reception.ts'
import type { Logger } from '../logger.ts'
import { isOfOneItem } from '../redis/apart.ts'
import type { ControlLeases } from '../store/control-leases.ts'
import type { ControlReader } from '../store/control-reader.ts'
import { type EntryRef, idsByStream, refOf, type TakenEntry } from '../store/control-streams.ts'
import type { Ahead } from './ahead.ts'
import type { LeaseKeeper } from './lease-keeper.ts'
import type { Settlement } from './settlement.ts'
import type { Seat, Slots } from './slots.ts'

/** Whoever reads an answer later than this part of a lease makes sure that what it brought is still its own. */
const LATE_SHARE = 0.5
/** What waits ahead for longer than it should, so many times over, is let go. */
const PATIENCE = 4
const PATIENCE_LEAST_MS = 50
const PATIENCE_SHARE = 0.25

/**
 * Runs a task: gives its seat back when its handler has come to an end, and resolves then, with what is left of it. Never
 * rejects.
 */
export type RunTask = (assignment: Assignment, seat: Seat) => Promise<Ending>

export interface AdmissionOptions {
  readonly reader: ControlReader
  readonly reception: Reception
  readonly leases: ControlLeases
  readonly keeper: LeaseKeeper
  readonly slots: Slots
  readonly ahead: Ahead
  readonly settlement: Settlement
  /** Runs a task; see {@link RunTask}. */
  readonly run: RunTask
  readonly leaseMs: number
  /** Each task is begun by itself, so that none waits for the node with another's session: on a Cluster. Default false. */
  readonly isApart?: boolean
  /** Whether no other process bears the worker's name by now, by which alone Redis tells owners apart. */
  readonly isOwnName: () => Promise<boolean>
  /** From then on nothing is started any more. */
  readonly stopping: AbortSignal
  readonly logger: Logger
}

/**
 * What happens to an entry once it was taken: it gets a slot, or waits ahead of one for a moment, or goes back. With its
 * slot it is received and run, its lease is kept meanwhile, and it is settled when its task has its end.
 *
 * The lease of what waits ahead is not kept: should the event loop be blocked, others take it over.
 */
export class Admission {
  readonly #reader: ControlReader
  readonly #reception: Reception
  readonly #leases: ControlLeases
  readonly #keeper: LeaseKeeper
  readonly #slots: Slots
  readonly #ahead: Ahead
  readonly #settlement: Settlement
  readonly #run: RunTask
  readonly #leaseMs: number
  readonly #isApart: boolean
  readonly #isOwnName: () => Promise<boolean>
  readonly #stopping: AbortSignal
  readonly #logger: Logger
  #givenBack: Promise<unknown> = Promise.resolve()
  readonly #onLeft = (ms: number) => this.#ahead.noteEnd(ms)
  #isSeating = false
  #patience: NodeJS.Timeout | undefined

  constructor(options: AdmissionOptions) {
    this.#reader = options.reader
    this.#reception = options.reception
    this.#leases = options.leases
    this.#keeper = options.keeper
    this.#slots = options.slots
    this.#ahead = options.ahead
    this.#settlement = options.settlement
    this.#run = options.run
    this.#leaseMs = options.leaseMs
    this.#isApart = options.isApart ?? false
    this.#isOwnName = options.isOwnName
    this.#stopping = options.stopping
    this.#logger = options.logger
  }

  /**
   * Takes what was read, or taken over from others: runs it, lets as many wait ahead as are allowed to, and gives back what
   * there is no room for. Resolves when the handlers have been called of what has its slot at once. Never rejects.
   */
  async take(entries: readonly TakenEntry[], allowance = 0): Promise<void> {
    // What is here was only renewed by being taken over, or handed out again by a group that was made anew.
    const fresh = entries.filter((entry) => !this.#keeper.has(entry))
    const { size } = this.#ahead
    // A takeover may have been quicker for the last slots, a stop may have come meanwhile, and who waits goes first.
    const isClosed = this.#stopping.aborted
    const free = isClosed || size > 0 ? 0 : this.#slots.free
    const room = isClosed ? 0 : Math.max(allowance - size, 0)
    const surplus = fresh.slice(free + room)
    if (surplus.length > 0) this.#return(this.#giveBack(surplus, { isUnrun: isNew, inPlace: false }))
    const seated = this.#seat(fresh.slice(0, free))
    this.#wait(fresh.slice(free, free + room))
    if (seated.length === 0) return
    // The next read leaves first: the server works on it while these run here.
    await nextTick()
    if (this.#isApart) await Promise.all(seated.map((entry) => this.#process([entry])))
    else await this.#process(seated)
  }

  /** Gives back what waits ahead; what runs goes on. */
  close(): void {
    clearTimeout(this.#patience)
    this.#dismiss(false)
  }

  /** Resolves when every entry of an ended task is acked, and what there was no room for has been given back. */
  async settled(): Promise<void> {
    await this.#givenBack
    await this.#settlement.flushed()
  }

  #seat(entries: readonly TakenEntry[]): readonly TakenEntry[] {
    this.#slots.take(entries.length)
    for (const entry of entries) this.#keeper.hold(entry)
    return entries
  }

  #wait(entries: readonly TakenEntry[]): void {
    if (entries.length === 0) return
    this.#ahead.add(entries)
    for (const entry of entries) this.#keeper.expect(entry)
    this.#patience ??= this.#watch()
    if (!this.#isSeating) void this.#seatWaiting()
  }

  /** Gives those that wait their slots as they become free, in their order. */
  async #seatWaiting(): Promise<void> {
    this.#isSeating = true
    while (this.#ahead.size > 0) {
      await this.#slots.available()
      const seated = this.#seat(this.#ahead.next(this.#slots.free))
      if (seated.length > 0) void this.#process(seated)
    }
    this.#isSeating = false
  }

  /** So long what waits may wait: longer than it should take, and no longer than a moment. */
  get #patienceMs(): number {
    const leastMs = Math.min(PATIENCE_LEAST_MS, this.#leaseMs * PATIENCE_SHARE)
    return Math.max(PATIENCE * this.#ahead.reachMs, leastMs)
  }

  /** What was to wait for a moment only, behind tasks that turn out to be long, is for whoever has a slot. */
  #watch(): NodeJS.Timeout {
    const first = this.#ahead.first?.raw
    return setTimeout(() => {
      this.#patience = undefined
      if (first !== undefined && this.#ahead.first?.raw === first) this.#dismiss(true)
      else if (this.#ahead.size > 0) this.#patience = this.#watch()
    }, this.#patienceMs)
  }

  #dismiss(inPlace: boolean): void {
    const waiting = this.#ahead.next(this.#ahead.size)
    for (const entry of waiting) this.#keeper.drop(entry)
    if (waiting.length > 0) this.#return(this.#giveBack(waiting, { isUnrun: () => true, inPlace }))
  }

  #return(giving: Promise<void>): void {
    const before = this.#givenBack
    this.#givenBack = giving.then(() => before)
  }

  async #process(entries: readonly TakenEntry[]): Promise<void> {
    let received: Received[]
    let held = entries
    try {
      held = await this.#stillHeld(entries)
      const askedAt = performance.now()
      received = await this.#reception.receive(this.#asOfNow(held))
      received = await this.#stillOwn(received, askedAt)
    } catch (error) {
      if (held.length > 1 && isOfOneItem(error)) {
        await Promise.all(held.map((entry) => this.#process([entry])))
        return
      }
      this.#logger.error({ err: error, entries: namesOf(held) }, 'tasks were taken but not begun')
      for (const entry of held) {
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
        this.#closeAfter(this.#run(assignment, this.#slots.seat(this.#onLeft)), refOf(entry))
      }
    }
  }

  /**
   * Those that are still this worker's. An event loop that was busy for long reads late what it was handed before; the
   * leases are kept only from here on.
   */
  async #stillHeld(entries: readonly TakenEntry[]): Promise<readonly TakenEntry[]> {
    const late = this.#late(entries)
    if (late.length === 0) return entries
    const gone = await this.#dropGone(late)
    return entries.filter((entry) => !gone.has(entry))
  }

  /** What was begun by a call that was held up for as long, its connection lost for instance, is to be run only if it still is. */
  async #stillOwn(received: Received[], askedAt: number): Promise<Received[]> {
    if (performance.now() - askedAt < this.#leaseMs * LATE_SHARE) return received
    const begun = received.filter(({ assignment }) => assignment !== null)
    const gone = await this.#dropGone(begun.map(({ entry }) => entry))
    return received.filter(({ entry }) => !gone.has(entry))
  }

  /** Drops and answers those that others, also another process under this name, may have taken over. */
  async #dropGone(entries: readonly TakenEntry[]): Promise<ReadonlySet<TakenEntry>> {
    const [lost, isOwnName] = await Promise.all([this.#leases.renewAll(entries), this.#isOwnName()])
    const gone = isOwnName ? lost : new Set(entries)
    if (gone.size === 0) return gone
    this.#logger.info({ entries: namesOf([...gone]) }, 'what was taken was heard of too late: others have it')
    for (const entry of gone) {
      this.#keeper.drop(entry)
      this.#slots.give()
      this.#slots.close()
    }
    return gone
  }

  /**
   * What a read said of a task as it handed it out does not count for long: it may be cancelled since, and nobody could tell yet.
   * (A blocking read may have waited for the most part of its time.)
   */
  #asOfNow(entries: readonly TakenEntry[]): readonly TakenEntry[] {
    const newest = performance.now() - this.#patienceMs
    const isOld = ({ begun, askedAt }: TakenEntry) => typeof begun === 'number' && askedAt < newest
    if (!entries.some(isOld)) return entries
    return entries.map((entry) => (isOld(entry) ? { ...entry, begun: undefined } : entry))
  }

  #late(entries: readonly TakenEntry[]): readonly TakenEntry[] {
    const lateMs = performance.now() - this.#leaseMs * LATE_SHARE
    return entries.filter(({ askedAt }) => askedAt < lateMs)
  }

  /** What was asked is not held until then: see `Ending`. */
  #closeAfter(run: Promise<Ending>, entry: EntryRef): void {
    void run.then(({ how }) => {
      void how.then(
        (become) => this.#close(entry, become),
        (error: unknown) => {
          this.#logger.error({ err: error, entries: namesOf([entry]) }, 'the end of a task was not seen to')
          this.#close(entry, 'left')
        },
      )
    })
  }

  /**
   * Acks the entry of a task that has its end; lets go of any other, for whoever takes it over. Of one that somebody has it
   * keeps off: that may be a process that bears this worker's name by now, which is all that tells owners apart.
   */
  #close(entry: EntryRef, how: How): void {
    this.#keeper.drop(entry)
    if (how === 'ended') this.#settlement.add(entry)
    if (how !== 'left') this.#slots.close()
    else void this.#surrender([entry]).then(() => this.#slots.close())
  }

  /**
   * Gives back what was never run: at the end of its stream, or in place; what others may have begun, to the next who looks.
   * What this worker hears of too late may be with the next of its name. Never rejects.
   */
  async #giveBack(
    entries: readonly TakenEntry[],
    { isUnrun, inPlace }: { isUnrun: (entry: TakenEntry) => boolean; inPlace: boolean },
  ): Promise<void> {
    try {
      if (this.#late(entries).length > 0 && !(await this.#isOwnName())) return
      await this.#surrender(entries.filter((entry) => !isUnrun(entry)))
      await this.#release(entries.filter(isUnrun), inPlace)
    } catch (error) {
      this.#logger.warn(
        { err: error, entries: namesOf(entries) },
        'entries could not be given back; their leases run out',
      )
    }
  }

  /** Until it is away from its place, an entry is here: it must not be taken for one that this worker was handed and did not hear of. */
  async #release(entries: readonly TakenEntry[], inPlace: boolean): Promise<void> {
    if (!inPlace) for (const entry of entries) this.#keeper.expect(entry)
    try {
      await this.#reader.release(entries, inPlace)
    } finally {
      if (!inPlace) for (const entry of entries) this.#keeper.drop(entry)
    }
  }

  /** What runs under this worker's name by now may be with the next of its name. */
  async #surrender(entries: readonly EntryRef[]): Promise<void> {
    if (entries.length === 0) return
    try {
      if (!(await this.#isOwnName())) return
      await Promise.all([...idsByStream(entries)].map(([key, ids]) => this.#leases.surrender(key, ids)))
    } catch (error) {
      this.#logger.warn({ err: error, entries: namesOf(entries) }, 'entries could not be let go; their leases run out')
    }
  }
}

/** Resolves when what was put together in this turn has left; see `RedisClient`. */
export function nextTick(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}

/** True for what was handed out for the first time, and not begun since. */
function isNew({ deliveries, maybeBegun, begun }: TakenEntry): boolean {
  return deliveries === 1 && (!maybeBegun || typeof begun === 'number')
}

/** As a log names them. */
function namesOf(entries: readonly EntryRef[]): string[] {
  return entries.map(({ stream, id }) => `${stream.key} ${id}`)
}
