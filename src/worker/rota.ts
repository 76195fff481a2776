import type { ControlStream, TakenEntry } from '../store/control-streams.ts'

/** Every so many reads all streams are looked at, also those that were empty last time. */
const FULL_ROUND_EVERY = 8

/**
 * Which streams a non-blocking read asks. XREADGROUP bounds each stream, not their sum, so the free slots are divided
 * among the streams asked; asking only those that had something leaves larger shares. Streams that were empty get their
 * turn every eighth read, and whenever the busy ones run dry.
 */
export class Rota {
  readonly #all: readonly ControlStream[]
  #busy: readonly ControlStream[]
  #reads = 0
  #start = 0

  constructor(streams: readonly ControlStream[]) {
    this.#all = streams
    this.#busy = streams
  }

  /** The streams for the next read: never more than there are free slots. */
  next(free: number): readonly ControlStream[] {
    this.#reads += 1
    const wanted = this.#reads % FULL_ROUND_EVERY === 0 ? this.#all : this.#busy
    if (wanted.length <= free) return wanted
    const from = this.#start % wanted.length
    this.#start = from + free
    return [...wanted.slice(from), ...wanted.slice(0, from)].slice(0, free)
  }

  /** Takes note of what a read brought; true if that means that all streams are empty, or nearly so. */
  report(asked: readonly ControlStream[], perStream: number, entries: readonly TakenEntry[]): boolean {
    const counts = new Map<ControlStream, number>()
    for (const { stream } of entries) counts.set(stream, (counts.get(stream) ?? 0) + 1)
    const full = asked.filter((stream) => (counts.get(stream) ?? 0) >= perStream)
    if (full.length > 0) {
      this.#busy = full
      return false
    }
    // Those that were asked are empty now. Were they all there are?
    const everything = asked.length === this.#all.length
    this.#busy = this.#all
    return everything
  }
}
