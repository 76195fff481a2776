import { setImmediate as nextTurn } from 'node:timers/promises'
import { errorMessage } from '../errors.ts'
import type { Assignment } from '../execution/assignment.ts'
import type { Received, Reception } from '../execution/reception.ts'
import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import type { ControlLeases } from '../store/control-leases.ts'
import type { ControlReader, ControlStream, TakenEntry } from '../store/control-streams.ts'
import { sleep } from '../util/sleep.ts'
import type { LeaseKeeper } from './lease-keeper.ts'
import { Rota } from './rota.ts'
import { Settlement } from './settlement.ts'
import type { Seat, Slots } from './slots.ts'

/** So many reads are in different stages at once under load; measured: 2 and 6 were slower. */
const SHARES = 4
const RETRY_FIRST_MS = 50
const RETRY_MOST_MS = 1_000
const UNBLOCK_EVERY_MS = 20

/**
 * Runs a task: gives its seat back when its handler has come to an end, and resolves with true when the task's end is
 * recorded, so that its entry can go, or with false when somebody else will end it. Never rejects.
 */
export type RunTask = (assignment: Assignment, seat: Seat) => Promise<boolean>

/**
 * Takes tasks from the control streams, never more than there are free slots, and settles their entries when they have
 * their end.
 *
 * Two modes. `draining`: the streams had more than was asked for, so the next read follows as soon as slots are free,
 * without blocking, in one write with the acks of what ended. `idle`: the streams were empty, so one blocking read waits
 * over all of them. A blocking read that comes back full leads to `draining`; when all streams were found empty or
 * nearly so, `idle` follows. While all slots are in use nothing is read at all.
 */
export class Intake extends Service {
  readonly #reader: ControlReader
  readonly #reception: Reception
  readonly #leases: ControlLeases
  readonly #keeper: LeaseKeeper
  readonly #slots: Slots
  readonly #settlement: Settlement
  readonly #rota: Rota
  readonly #run: RunTask
  readonly #fetchCount: number
  readonly #logger: Logger
  readonly #stopping = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #draining = true
  #failures = 0

  constructor(options: {
    reader: ControlReader
    reception: Reception
    leases: ControlLeases
    keeper: LeaseKeeper
    slots: Slots
    /** Runs a task; see {@link RunTask}. */
    run: RunTask
    fetchCount: number
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
    this.#logger = options.logger
    this.#rota = new Rota(options.reader.streams)
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

  /** Resolves when every entry of an ended task is acked. */
  settled(): Promise<void> {
    return this.#settlement.flushed()
  }

  async #consume(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#readOnce()
        this.#failures = 0
      } catch (error) {
        if (!this.#stopping.signal.aborted) await this.#recover(error)
      }
    }
  }

  async #readOnce(): Promise<void> {
    if (this.#slots.free <= 0) {
      await this.#slots.available()
      // Others that ended in the same turn free their slots and settle their entries too: one read for all of them.
      await nextTurn()
      if (this.#stopping.signal.aborted || this.#slots.free <= 0) return
    }
    if (this.#draining) await this.#drainOnce(this.#slots.free)
    else await this.#waitOnce(this.#slots.free)
  }

  async #drainOnce(free: number): Promise<void> {
    void this.#settlement.flush()
    // A quarter of the slots at a time: while the server begins or ends the tasks of one, others run here.
    const share = Math.min(free, Math.ceil(this.#slots.total / SHARES))
    const streams = this.#rota.next(share)
    const perStream = Math.floor(share / streams.length)
    const entries = await this.#reader.take(streams, perStream)
    this.#draining = !this.#rota.report(streams, perStream, entries)
    this.accept(entries)
  }

  async #waitOnce(free: number): Promise<void> {
    this.#rota.reset()
    const perStream = Math.min(this.#fetchCount, Math.floor(free / this.#reader.streams.length))
    if (perStream === 0) return this.#waitForBell(free)
    const entries = await this.#reader.block(perStream)
    this.#draining = entries.length >= perStream
    this.accept(entries)
  }

  /**
   * With fewer free slots than streams a blocking group read could bring more than there is room for. So this waits
   * without taking: it notes where the streams end, looks at each once more, and waits for something beyond.
   */
  async #waitForBell(free: number): Promise<void> {
    const { streams } = this.#reader
    this.#draining = true
    const ends = await this.#reader.ends()
    for (let from = 0; from < streams.length && !this.#stopping.signal.aborted; from += free) {
      const entries = await this.#reader.take(streams.slice(from, from + free), 1)
      if (entries.length > 0) return this.accept(entries)
    }
    if (!this.#stopping.signal.aborted) await this.#reader.waitBeyond(ends)
  }

  /** Takes what was read, or taken over from others: runs it, or gives back what there is no room for. */
  accept(entries: readonly TakenEntry[]): void {
    // What this worker still runs was only renewed by being taken over.
    const fresh = entries.filter((entry) => !this.#keeper.holds(entry))
    // A takeover may have been quicker for the last slots, and a stop may have come meanwhile.
    const room = this.#stopping.signal.aborted ? 0 : this.#slots.free
    const accepted = fresh.slice(0, room)
    const surplus = fresh.slice(room)
    if (surplus.length > 0) void this.#giveBack(surplus)
    if (accepted.length === 0) return
    this.#slots.take(accepted.length)
    for (const entry of accepted) this.#keeper.hold(entry)
    void this.#process(accepted)
  }

  async #process(entries: readonly TakenEntry[]): Promise<void> {
    let received: Received[]
    try {
      received = await this.#reception.receive(entries)
    } catch (error) {
      this.#logger.error({ err: error, entries: entries.map(({ id }) => id) }, 'tasks were taken but not begun')
      for (const entry of entries) {
        this.#slots.give()
        void this.#close(entry, false)
      }
      return
    }
    for (const { entry, assignment } of received) {
      if (assignment === null) {
        this.#slots.give()
        void this.#close(entry, true)
      } else {
        void this.#run(assignment, this.#slots.seat()).then((ended) => this.#close(entry, ended))
      }
    }
  }

  /** Acks the entry of a task that has its end; lets go of any other, for whoever takes it over. */
  async #close(entry: TakenEntry, ended: boolean): Promise<void> {
    this.#keeper.drop(entry)
    if (ended) this.#settlement.add(entry)
    else await this.#surrender([entry])
    this.#slots.close()
  }

  /** Gives back what was never begun: new entries to the stream, entries of the dead to the next who looks. */
  async #giveBack(entries: readonly TakenEntry[]): Promise<void> {
    const isNew = ({ deliveries }: TakenEntry) => deliveries === 1
    await this.#surrender(entries.filter((entry) => !isNew(entry)))
    try {
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
    if (this.#failures === 1) this.#logger.warn({ reason: errorMessage(error) }, 'reading tasks failed, trying again')
    const delay = Math.min(RETRY_FIRST_MS * 2 ** (this.#failures - 1), RETRY_MOST_MS)
    await sleep(delay, this.#stopping.signal)
    if (!errorMessage(error).includes('NOGROUP')) return
    try {
      await this.#reader.ensureGroups()
    } catch (cause) {
      this.#logger.debug({ err: cause }, 'consumer groups could not be made yet')
    }
  }
}
