/** A promise with its own `resolve` and `reject` (what `Promise.withResolvers` gives from Node 22 on). */
export interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (error: unknown) => void
}

export function deferred<T = void>(): Deferred<T> {
  return new Settleable<T>()
}

/**
 * No literal, nor is what else lives as long as a call is under way and is made for each. Of a literal V8 learns, while the
 * heap is small, that it outlives each collection, and makes it among the old objects from then on. There it keeps
 * alive what it refers to long after it is dead. Which literals meet that is chance: one sender in three spent half as
 * much again.
 */
class Settleable<T> implements Deferred<T> {
  readonly promise: Promise<T>
  resolve!: (value: T) => void
  reject!: (error: unknown) => void

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }
}
