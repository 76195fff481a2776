import { Batcher, type BatcherOptions } from './batcher.ts'
import { type Deferred, deferred } from './deferred.ts'

/**
 * A {@link Batcher} for each key: what is held up under one keeps nothing under another waiting. One that has nothing to do
 * goes.
 */
export class Batchers<Item, Result> {
  readonly #options: BatcherOptions<Item, Result>
  readonly #keyOf: (item: Item) => string
  readonly #byKey = new Map<string, { readonly batcher: Batcher<Item, Result>; open: number }>()

  /** @param keyOf - What must be the same for items to share a batch. */
  constructor(keyOf: (item: Item) => string, options: BatcherOptions<Item, Result>) {
    this.#keyOf = keyOf
    this.#options = options
  }

  /** Resolves with the item's own result once its batch was answered. */
  add(item: Item): Promise<Result> {
    const settled = deferred<Result>()
    this.put(item, settled)
    return settled.promise
  }

  /** The same without a promise: calls `resolve` or `reject` in the turn in which the answer comes. */
  put(item: Item, settled: Pick<Deferred<Result>, 'resolve' | 'reject'>): void {
    const key = this.#keyOf(item)
    const own = this.#byKey.get(key) ?? { batcher: new Batcher(this.#options), open: 0 }
    this.#byKey.set(key, own)
    own.open += 1
    const leave = () => {
      own.open -= 1
      if (own.open === 0) this.#byKey.delete(key)
    }
    own.batcher.put(item, {
      resolve: (result) => {
        leave()
        settled.resolve(result)
      },
      reject: (error) => {
        leave()
        settled.reject(error)
      },
    })
  }
}
