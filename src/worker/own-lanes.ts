import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import { type ControlLeases, isGroupGone } from '../store/control-leases.ts'
import type { ControlReader, Taken } from '../store/control-reader.ts'
import type { ControlStream, TakenEntry } from '../store/control-streams.ts'
import { Patrol } from './patrol.ts'
import { IDLE_SHARE } from './reclaimer.ts'
import type { Slots } from './slots.ts'

/** A wake-up may get lost, so the lanes are looked at so often without one. */
const LOOK_EVERY_MS = 5_000
/** The same while there is something on them for which there was no room. */
const DUE_EVERY_MS = 100
const RETRY_MS = 500

/** What was taken, and why that is not all, if so. */
type Take = Pick<Taken, 'fault'> & { readonly entries: readonly TakenEntry[] }

/**
 * Takes what was sent to this very worker. Its own lanes come into being with the first task for it and go when they are
 * empty, so a worker to whom nobody sends has none; it is woken by its inbox when something was put there, and looks by
 * itself now and then. Nobody else reads them: what this worker left behind in a former life waits for its return.
 */
export class OwnLanes extends Service {
  readonly #reader: ControlReader
  readonly #leases: ControlLeases
  readonly #slots: Slots
  readonly #leaseMs: number
  readonly #accept: (entries: readonly TakenEntry[]) => void
  readonly #patrol: Patrol
  readonly #cursors = new Map<string, string>()
  /** Lanes that were seen in this life. */
  readonly #known = new Set<string>()
  #isDue = false
  #taking: Promise<unknown> = Promise.resolve()

  constructor(options: {
    /** Of the worker's own lanes. */
    reader: ControlReader
    leases: ControlLeases
    slots: Slots
    leaseMs: number
    /** Takes what was taken. */
    accept: (entries: readonly TakenEntry[]) => void
    logger: Logger
  }) {
    super()
    this.#reader = options.reader
    this.#leases = options.leases
    this.#slots = options.slots
    this.#leaseMs = options.leaseMs
    this.#accept = options.accept
    this.#patrol = new Patrol({
      round: () => this.#round(),
      retryMs: () => RETRY_MS,
      complaint: "looking at the worker's own lanes failed",
      logger: options.logger,
    })
  }

  /** Something waits for which there was no room: to be taken, by {@link goFirst}, before new tasks of others. */
  get isDue(): boolean {
    return this.#isDue
  }

  /** Looks at once: something was put on a lane. */
  wake(): void {
    this.#patrol.wake()
  }

  /** Takes as long as it is due and there are slots; slots may become free meanwhile. Never rejects: the rounds complain. */
  async goFirst(): Promise<void> {
    try {
      while (this.#isDue && this.isRunning && this.#slots.free > 0) await this.#look()
    } catch {
      // No reason to take nothing else.
    }
  }

  protected override onStart(): Promise<void> {
    return this.#patrol.start()
  }

  protected override onStop(): Promise<void> {
    return this.#patrol.stop()
  }

  /** Leaves no empty lane behind, when the last task has ended. */
  async leave(): Promise<void> {
    await this.#reader.dropEmpty()
  }

  async #round(): Promise<number> {
    await this.#look()
    return this.#isDue ? DUE_EVERY_MS : LOOK_EVERY_MS
  }

  /** One look after the other: two would take for the same slots, and what one gives back the other would not find. */
  #look(): Promise<void> {
    const look = this.#taking.then(() => this.#take())
    this.#taking = look.catch(() => undefined) // whoever looked is told
    return look
  }

  async #take(): Promise<void> {
    const lanes = await this.#reader.dropEmpty()
    // From here on, what others may run waits for this look.
    this.#isDue = lanes.length > 0
    if (lanes.length === 0) return
    await this.#open(lanes)
    // Old things first; a walk over them may be cut short, and what is new has more where there is no room for more.
    const old = await this.#takeUpTo(this.#slots.free, (budget) => this.#takeBack(lanes, budget))
    const budget = this.#slots.free
    const fresh = await this.#takeUpTo(budget, (most) => this.#takeNew(lanes, most))
    this.#isDue = old > 0 || fresh >= budget
  }

  /** @throws What kept it from taking more; what was taken by then is accepted. */
  async #takeUpTo(budget: number, take: (budget: number) => Promise<Take>): Promise<number> {
    if (budget <= 0 || !this.isRunning) return 0
    const { entries, fault } = await take(budget)
    const { free } = this.#slots
    if (entries.length > 0) this.#accept(entries)
    if (fault !== undefined) throw fault
    // Slots that were used meanwhile: what is too much goes back, and has to be taken again.
    return entries.length > free ? budget : entries.length
  }

  /** What was left behind: by a former life, by an attempt that was not begun, by a read whose answer was lost. */
  async #takeBack(lanes: readonly ControlStream[], budget: number): Promise<Take> {
    const { entries, fault } = await this.#leases.reclaim(lanes, this.#leaseMs * IDLE_SHARE, budget, this.#cursors)
    return { entries, fault: isGroupGone(fault) ? undefined : fault }
  }

  async #takeNew(streams: readonly ControlStream[], budget: number): Promise<Take> {
    const taken: TakenEntry[] = []
    for (const stream of streams) {
      if (taken.length >= budget) break
      const plan = { budget: budget - taken.length, streams: [stream], steps: [] }
      const { entries, fault } = await this.#reader
        .take(plan)
        .catch((error: Error): Take => ({ entries: [], fault: error }))
      taken.push(...entries)
      // A lane may have been emptied and removed, or flushed, in between.
      if (fault !== undefined && !isGroupGone(fault)) return { entries: taken, fault }
    }
    return { entries: taken, fault: undefined }
  }

  /** Makes the groups of lanes that are new; in this worker's former life the leases ran for another. */
  async #open(lanes: readonly ControlStream[]): Promise<void> {
    await this.#reader.joinGroups(lanes)
    const fresh = lanes.filter(({ key }) => !this.#known.has(key))
    for (const { key } of fresh) this.#known.add(key)
    await Promise.all(fresh.map(({ key }) => this.#leases.surrender(key)))
  }
}
