/**
 * The newest of what was set and asked for by key: at least the last `least`, at most twice as many. Two Maps take turns,
 * and nothing is deleted from either: one in which all is set and deleted again leaves a chain of dead tables behind (see
 * `Bag`).
 */
export class Recent<Value> {
  readonly #least: number
  #young = new Map<string, Value>()
  #old = new Map<string, Value>()

  constructor(least: number) {
    this.#least = least
  }

  get(key: string): Value | undefined {
    const found = this.#young.get(key)
    if (found !== undefined) return found
    const old = this.#old.get(key)
    if (old !== undefined) this.set(key, old)
    return old
  }

  set(key: string, value: Value): void {
    if (this.#young.size >= this.#least) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, value)
  }
}
