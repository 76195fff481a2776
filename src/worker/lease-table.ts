/** Numbers before the rows: the main thread's pulse, and the count of running tasks. */
const PULSE = 0
const RUNNING = 1
const HEAD = 2
/** A row: milliseconds and sequence of the entry id (0 milliseconds: the row is free), index of its stream. */
const ROW = 3

/**
 * The entries that this worker is running, in memory shared with the thread that renews their leases: a write costs
 * three stores, and the thread can read it while the main thread's event loop is blocked. A torn read does no harm,
 * because only entries that Redis shows as this consumer's are renewed.
 */
export class LeaseTable {
  readonly shared: SharedArrayBuffer
  readonly #cells: Float64Array
  readonly #free: number[] = []

  /** @param source - Number of rows, or the memory of a table that exists. */
  constructor(source: number | SharedArrayBuffer) {
    const isNew = typeof source === 'number'
    this.shared = isNew ? new SharedArrayBuffer((HEAD + source * ROW) * Float64Array.BYTES_PER_ELEMENT) : source
    this.#cells = new Float64Array(this.shared)
    if (isNew) for (let row = source - 1; row >= 0; row -= 1) this.#free.push(row)
  }

  /** Adds an entry; answers its row, for {@link remove}. */
  add(streamIndex: number, entryId: string): number {
    const row = this.#free.pop()
    if (row === undefined) throw new RangeError('more leases than rows')
    const dash = entryId.indexOf('-')
    const at = HEAD + row * ROW
    this.#cells[at + 1] = Number(entryId.slice(dash + 1))
    this.#cells[at + 2] = streamIndex
    this.#cells[at] = Number(entryId.slice(0, dash))
    return row
  }

  remove(row: number): void {
    this.#cells[HEAD + row * ROW] = 0
    this.#free.push(row)
  }

  /** The live entries by the index of their stream. */
  entries(): Map<number, string[]> {
    const byStream = new Map<number, string[]>()
    for (let at = HEAD; at < this.#cells.length; at += ROW) {
      const ms = this.#cells[at] as number
      if (ms === 0) continue
      const stream = this.#cells[at + 2] as number
      const id = `${ms}-${this.#cells[at + 1]}`
      const ids = byStream.get(stream)
      if (ids === undefined) byStream.set(stream, [id])
      else ids.push(id)
    }
    return byStream
  }

  /** Shows that the main thread's event loop turns. */
  beat(running: number): void {
    this.#cells[PULSE] = (this.#cells[PULSE] as number) + 1
    this.#cells[RUNNING] = running
  }

  /** A number that changes as long as the main thread's event loop turns. */
  get pulse(): number {
    return this.#cells[PULSE] as number
  }

  get running(): number {
    return this.#cells[RUNNING] as number
  }
}
