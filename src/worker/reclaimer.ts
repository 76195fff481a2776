import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import { type ControlLeases, LET_GO_MS } from '../store/control-leases.ts'
import type { ControlStream, TakenEntry } from '../store/control-streams.ts'
import { sleep } from '../util/sleep.ts'
import { Patrol } from './patrol.ts'
import type { Slots } from './slots.ts'

/** A lease counts as run out after this part of it: with the walks in between, a takeover stays within one lease. */
export const IDLE_SHARE = 0.8
const WALKS_PER_LEASE = 10
/** After a walk that found as much as it had room for. */
const NEXT_WALK_MS = 5
/** Who has not reached Redis for this part of a lease cannot tell the dead from those that were cut off like himself. */
const AWAY_SHARE = 0.25
const AWAY_LEAST_MS = 250
/** Beside the time of a lease the living then have this long to connect again, before what they do not renew is taken. */
const GRACE_MS = 500
const CONSUMER_IDLE_MS = 600_000
const CLEAN_EVERY_MS = 60_000

/**
 * Takes over what dead workers have left, this one's former life included: walks over the pending entries of all
 * lanes, the high ones first, about ten times in a lease and with jitter, bounded by the free slots. After Redis was away, or
 * its clock was put forward, it waits until the living have renewed the leases that ran out by that. Who has just started
 * cannot know of it, and for a moment takes only what was let go.
 */
export class Reclaimer extends Service {
  readonly #leases: ControlLeases
  readonly #streams: readonly ControlStream[]
  readonly #slots: Slots
  readonly #leaseMs: number
  readonly #accept: (entries: readonly TakenEntry[]) => void
  readonly #logger: Logger
  readonly #cursors = new Map<string, string>()
  readonly #patrol: Patrol
  #cleanedAt = performance.now()
  #reachedAt = 0
  /** A walk was held up, and the living have not had their time since. */
  #wasHeldUp = false
  #startedAt = 0
  #isDue = false

  constructor(options: {
    leases: ControlLeases
    streams: readonly ControlStream[]
    slots: Slots
    leaseMs: number
    /** Takes what was taken over. */
    accept: (entries: readonly TakenEntry[]) => void
    logger: Logger
  }) {
    super()
    this.#leases = options.leases
    this.#streams = options.streams
    this.#slots = options.slots
    this.#leaseMs = options.leaseMs
    this.#accept = options.accept
    this.#logger = options.logger
    this.#patrol = new Patrol({
      round: (signal) => this.#round(signal),
      retryMs: () => this.#restMs(),
      complaint: 'looking for orphaned tasks failed',
      logger: options.logger,
    })
  }

  /** It is time to look, but there was no room, or the last look filled it: {@link goFirst}, before anything new. */
  get isDue(): boolean {
    return this.#isDue
  }

  /**
   * To be awaited before new tasks are taken: a worker whose slots are always filled again would otherwise never have
   * room for what the dead have left.
   */
  async goFirst(): Promise<void> {
    // It stays due while it cannot be told who lives.
    if (!this.#isDue || this.#isAway || this.#slots.free <= 0) return
    this.#isDue = false
    this.#isDue = await this.#walk()
  }

  protected override async onStart(): Promise<void> {
    // A worker that comes back under its old id is not to wait for its own leases to run out.
    await Promise.all(this.#streams.map(({ key }) => this.#leases.surrender(key)))
    this.#isDue = true
    this.#startedAt = performance.now()
    this.#reachedAt = this.#startedAt
    await this.#patrol.start()
  }

  protected override onStop(): Promise<void> {
    return this.#patrol.stop()
  }

  async #round(signal: AbortSignal): Promise<number> {
    await this.#meetRedis(signal)
    const wasFull = this.#slots.free > 0 && (await this.#walk())
    this.#isDue = wasFull || this.#slots.free <= 0
    await this.#clean()
    this.#reachedAt = performance.now()
    return wasFull ? NEXT_WALK_MS : this.#restMs()
  }

  #restMs(): number {
    return (this.#leaseMs / WALKS_PER_LEASE) * (0.5 + Math.random())
  }

  async #meetRedis(signal: AbortSignal): Promise<void> {
    let askedAt = performance.now()
    await this.#leases.reach()
    if (this.#isAway) {
      await sleep(this.#leaseMs * IDLE_SHARE + GRACE_MS, signal)
      this.#wasHeldUp = false
      askedAt = performance.now()
      await this.#leases.reach()
    }
    this.#reachedAt = askedAt
  }

  get #isAway(): boolean {
    return this.#wasHeldUp || performance.now() - this.#reachedAt >= this.#awayMs
  }

  get #awayMs(): number {
    return Math.max(this.#leaseMs * AWAY_SHARE, AWAY_LEAST_MS)
  }

  /**
   * Walks over all streams, lane after lane, in one call: an idle worker's walk costs one however many there are. True if
   * there may be more than it had room for.
   */
  async #walk(): Promise<boolean> {
    const count = this.#slots.free
    if (count <= 0 || !this.isRunning) return false
    const isNew = performance.now() - this.#startedAt < this.#awayMs + GRACE_MS
    const idleMs = isNew ? LET_GO_MS : this.#leaseMs * IDLE_SHARE
    // Should Redis go away between meeting it and this call, the call is carried out when it is back.
    const withinMs = this.#reachedAt + this.#awayMs - performance.now()
    const walk = this.#leases.reclaim(this.#streams, idleMs, count, this.#cursors, withinMs)
    const { entries, fault, heldUpMs } = await walk
    if (heldUpMs >= this.#awayMs) this.#wasHeldUp = true
    if (entries.length > 0) {
      const taken = entries.map(({ stream, id }) => `${stream.key} ${id}`)
      this.#logger.info({ entries: taken }, 'took over tasks whose worker was silent')
      this.#accept(entries)
    }
    if (fault !== undefined) throw fault
    return entries.length === count
  }

  async #clean(): Promise<void> {
    if (performance.now() - this.#cleanedAt < CLEAN_EVERY_MS) return
    this.#cleanedAt = performance.now()
    await Promise.all(this.#streams.map(({ key }) => this.#leases.removeConsumers(key, CONSUMER_IDLE_MS)))
    await this.#leases.tend(this.#streams)
  }
}
