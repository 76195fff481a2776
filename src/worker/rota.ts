import type { ControlStream, TakenEntry } from '../store/control-streams.ts'

/** Every so many reads all streams are looked at, also those that were empty last time. */
const FULL_ROUND_EVERY = 8

/**
 * Which streams a non-blocking read asks. XREADGROUP bounds each stream, not their sum, so the free slots are divided
 * among the streams asked; leaving out those that were found dry makes the shares larger. Dry streams get their turn
 * every eighth read; when all are dry, it is time to wait.
 */
export class Rota {
  readonly #all: readonly ControlStream[]
  readonly #dry = new Set<ControlStream>()
  #reads = 0
  #start = 0

  constructor(streams: readonly ControlStream[]) {
    this.#all = streams
  }

  /** The streams for the next read: never more than there are free slots. */
  next(free: number): readonly ControlStream[] {
    this.#reads += 1
    const isFull = this.#reads % FULL_ROUND_EVERY === 0 || this.#dry.size === this.#all.length
    const wanted = isFull ? this.#all : this.#all.filter((stream) => !this.#dry.has(stream))
    if (wanted.length <= free) return wanted
    const from = this.#start % wanted.length
    this.#start = from + free
    return [...wanted.slice(from), ...wanted.slice(0, from)].slice(0, free)
  }

  /** Takes note of what a read brought; true if all streams are dry now. */
  report(asked: readonly ControlStream[], perStream: number, entries: readonly TakenEntry[]): boolean {
    const counts = new Map<ControlStream, number>()
    for (const { stream } of entries) counts.set(stream, (counts.get(stream) ?? 0) + 1)
    for (const stream of asked) {
      if ((counts.get(stream) ?? 0) < perStream) this.#dry.add(stream)
      else this.#dry.delete(stream)
    }
    return this.#dry.size === this.#all.length
  }

  /** Forgets what was dry: time has passed. */
  reset(): void {
    this.#dry.clear()
  }
}
