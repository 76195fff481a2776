import { PRIORITIES, type Priority } from '../redis/keys.ts'
import type { TakePlan } from '../store/control-reader.ts'
import type { ControlStream, TakenEntry } from '../store/control-streams.ts'

/** While only one stream is in use, large reads look at the others every so many times. */
const FULL_READ_EVERY = 4
/** A read of fewer tasks always asks all. */
const LARGE_READ = 8

/** Whose turn it is, task by task. */
export const TURNS: readonly Priority[] = ['high', 'high', 'high', 'normal', 'high', 'high', 'high', 'low']

/**
 * Which streams a non-blocking read asks, and in what order. The rule:
 *
 * - **Lanes.** High goes before normal, and normal before low. But of every eight tasks taken one is the turn of the
 *   normal lanes and one that of the low lanes: they get at least this eighth each, however many high tasks wait.
 * - **No slot idles.** A turn whose lanes are empty is not kept for later: it goes to the first lane that has tasks,
 *   in the order high, normal, low.
 * - **Capabilities.** Within one lane the capabilities share evenly; what cannot be divided goes to those
 *   that got least at the last read.
 * - **Order.** Within one lane of one capability tasks are taken in the order in which they were sent.
 *
 * While only one stream is in use, most large reads ask it alone; every fourth, the first, and the one after a read that
 * brought less than it had room for, asks all. So a lane that was never used before is noticed some reads later.
 *
 * The turns are counted in tasks, not in reads, so that the shares hold whatever the size of each read is. On a Cluster
 * the lanes lie in different slots and one read cannot ask them all; there {@link Turnstile} lets the reads take turns.
 */
export class Rota {
  /** Streams by lane, in the order of {@link PRIORITIES}; in each lane those that got least first. */
  #lanes: readonly (readonly ControlStream[])[]
  /** The normal lanes, and those of the others that have brought something. */
  readonly #lively: Set<ControlStream>
  #turn = 0
  #narrowReads = FULL_READ_EVERY
  readonly #streamCount: number

  constructor(streams: readonly ControlStream[]) {
    this.#streamCount = streams.length
    this.#lanes = PRIORITIES.map((priority) => streams.filter((stream) => stream.priority === priority))
    this.#lively = new Set(streams.filter(({ priority, version }) => priority === 'normal' && version === undefined))
  }

  /** How many streams may be counted on to bring something: a lane that nobody uses is not one of them. */
  get lively(): number {
    return Math.max(this.#lively.size, 1)
  }

  /** The next read of at most `budget` tasks; of `some` streams only, if they are known to be all that has any. */
  plan(budget: number, some: readonly ControlStream[] = []): TakePlan {
    if (some.length > 0) {
      const lanes = this.#lanes.map((lane) => lane.filter((stream) => some.includes(stream)))
      return this.#planOf(lanes, budget)
    }
    if (this.#lively.size === 1 && budget >= LARGE_READ && this.#narrowReads < FULL_READ_EVERY - 1) {
      this.#narrowReads += 1
      return { budget, streams: [...this.#lively], steps: [{ first: 0, count: 1, most: budget }] }
    }
    this.#narrowReads = 0
    return this.#planOf(this.#lanes, budget)
  }

  /** True if the plan leaves streams out. */
  isNarrow({ streams }: TakePlan): boolean {
    return streams.length < this.#streamCount
  }

  #planOf(streams: readonly (readonly ControlStream[])[], budget: number): TakePlan {
    const turns = Array.from({ length: budget }, (_, at) => TURNS[(this.#turn + at) % TURNS.length] as Priority)
    let first = 0
    const lanes = streams.map(({ length: count }, index) => {
      const lane = { first, count, turns: turns.filter((turn) => turn === PRIORITIES[index]).length }
      first += count
      return lane
    })
    const inTurn = lanes.map((lane) => ({ first: lane.first, count: lane.count, most: lane.turns }))
    const rest = lanes.map((lane) => ({ first: lane.first, count: lane.count, most: budget }))
    const steps = [...inTurn, ...rest].filter(({ count, most }) => count > 0 && most > 0)
    return { budget, streams: streams.flat(), steps }
  }

  /** Takes note of what a read brought; of a blocking read without its plan. */
  report(entries: readonly TakenEntry[], plan?: TakePlan): void {
    if (plan !== undefined && this.isNarrow(plan) && entries.length < plan.budget) this.#narrowReads = FULL_READ_EVERY
    this.#turn = (this.#turn + entries.length) % TURNS.length
    const counts = new Map<ControlStream, number>()
    for (const { stream } of entries) counts.set(stream, (counts.get(stream) ?? 0) + 1)
    if (counts.size === 0) return
    for (const stream of counts.keys()) this.#lively.add(stream)
    const count = (stream: ControlStream) => counts.get(stream) ?? 0
    // Sorting keeps the order of those that got the same.
    this.#lanes = this.#lanes.map((lane) => [...lane].sort((a, b) => count(a) - count(b)))
  }
}
