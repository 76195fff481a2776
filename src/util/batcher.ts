import { type Deferred, deferred } from './deferred.ts'

export interface BatcherOptions<Item, Result> {
  /**
   * Sends one batch; answers one result per item, in order, or an error that rejects the item. A rejection rejects every
   * item of the batch. `isAlone`: no other batch is under way.
   */
  readonly run: (items: Item[], isAlone: boolean) => Promise<(Result | Error)[]>
  /** Most items in a batch. Default 128. */
  readonly maxItems?: number
  /** Most weight in a batch (see `weigh`); an item heavier than that goes alone. Default 1 MiB. */
  readonly maxWeight?: number
  /** Weight of an item, for instance its bytes. Default 0. */
  readonly weigh?: (item: Item) => number
  /** Batches under way at once; with 1 the order of items is the order of their effects. Default 1. */
  readonly maxInFlight?: number
  /** So many items leave although `maxInFlight` batches are under way: waiting would make them no cheaper. Default: none do. */
  readonly largeItems?: number
}

/** No more batches than this are under way, however large. */
const MOST_IN_FLIGHT = 8

/** No literal; see `deferred`. */
class Waiting<Item, Result> {
  readonly item: Item
  readonly settled: Pick<Deferred<Result>, 'resolve' | 'reject'>

  constructor(item: Item, settled: Pick<Deferred<Result>, 'resolve' | 'reject'>) {
    this.item = item
    this.settled = settled
  }
}

/**
 * Collects single items into batches: what arrives while `maxInFlight` batches are under way forms the next one, and all
 * that is added within one turn of the event loop goes out together. With no batch under way that turn is only what runs
 * now, the callback and the promises that follow from it: an idle caller waits for nobody, and load makes its own batches.
 */
export class Batcher<Item, Result> {
  readonly #options: Required<BatcherOptions<Item, Result>>
  #queue: Waiting<Item, Result>[] = []
  #inFlight = 0
  #scheduled = false

  constructor(options: BatcherOptions<Item, Result>) {
    this.#options = {
      maxItems: 128,
      maxWeight: 1_048_576,
      weigh: () => 0,
      maxInFlight: 1,
      largeItems: Number.POSITIVE_INFINITY,
      ...options,
    }
  }

  /** Resolves with the item's own result once its batch was answered. */
  add(item: Item): Promise<Result> {
    const settled = deferred<Result>()
    this.put(item, settled)
    return settled.promise
  }

  /** The same without a promise: calls `resolve` or `reject` in the turn in which the answer comes. */
  put(item: Item, settled: Pick<Deferred<Result>, 'resolve' | 'reject'>): void {
    this.#queue.push(new Waiting(item, settled))
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || !this.#mayLeave) return
    this.#scheduled = true
    const flush = () => {
      this.#scheduled = false
      this.#flush()
    }
    if (this.#inFlight === 0) process.nextTick(flush)
    else setImmediate(flush)
  }

  get #mayLeave(): boolean {
    const { maxInFlight, largeItems } = this.#options
    return this.#inFlight < maxInFlight || (this.#queue.length >= largeItems && this.#inFlight < MOST_IN_FLIGHT)
  }

  #flush(): void {
    while (this.#queue.length > 0 && this.#mayLeave) this.#send(this.#nextBatch())
  }

  #nextBatch(): Waiting<Item, Result>[] {
    const { maxItems, maxWeight, weigh } = this.#options
    let weight = 0
    let size = 0
    while (size < this.#queue.length && size < maxItems) {
      weight += weigh((this.#queue[size] as Waiting<Item, Result>).item)
      if (size > 0 && weight > maxWeight) break
      size += 1
    }
    if (size === this.#queue.length) {
      const all = this.#queue
      this.#queue = []
      return all
    }
    return this.#queue.splice(0, size)
  }

  #send(batch: Waiting<Item, Result>[]): void {
    const isAlone = this.#inFlight === 0
    const items = batch.map(({ item }) => item)
    this.#inFlight += 1
    this.#options.run(items, isAlone).then(
      (results) =>
        this.#settle(batch, ({ settled }, index) => {
          const result = results[index]
          if (result instanceof Error) settled.reject(result)
          else settled.resolve(result as Result)
        }),
      (error: unknown) => this.#settle(batch, (waiting) => waiting.settled.reject(error)),
    )
  }

  #settle(batch: Waiting<Item, Result>[], settle: (waiting: Waiting<Item, Result>, index: number) => void): void {
    this.#inFlight -= 1
    batch.forEach(settle)
    if (this.#queue.length > 0) this.#schedule()
  }
}
