const LEFT = 0x5eadbeef
const RIGHT = 0x41c6ce57

/**
 * What a handler has said, as a count and a rolling hash: two runs that said the same have equal sums. Not for secrets:
 * 64 bits that mix well and cost little.
 */
export class Sum {
  #count = 0
  #left = LEFT
  #right = RIGHT

  get count(): number {
    return this.#count
  }

  /** Adds one event by its text. */
  add(text: string): void {
    let left = this.#left
    let right = this.#right
    for (let i = 0; i < text.length; i += 1) {
      const unit = text.charCodeAt(i)
      left = Math.imul(left ^ unit, 0x9e3779b1)
      right = Math.imul(right ^ unit, 0x5f356495)
    }
    this.#left = Math.imul(left ^ (right >>> 15), 0x85ebca77)
    this.#right = Math.imul(right ^ (left >>> 13), 0xc2b2ae3d)
    this.#count += 1
  }

  equals(other: Sum): boolean {
    return this.#count === other.#count && this.#left === other.#left && this.#right === other.#right
  }

  /** Becomes the same as another. */
  set(other: Sum): void {
    this.#count = other.#count
    this.#left = other.#left
    this.#right = other.#right
  }

  /** Forgets all. */
  reset(): void {
    this.#count = 0
    this.#left = LEFT
    this.#right = RIGHT
  }

  /** For {@link Sum.parse}. */
  toString(): string {
    return `${this.#count}.${this.#left >>> 0}.${this.#right >>> 0}`
  }

  /** The sum that was written so, or null if it is none. */
  static parse(text: string): Sum | null {
    const parts = text.split('.').map(Number)
    if (parts.length !== 3 || !parts.every(Number.isSafeInteger)) return null
    const sum = new Sum()
    sum.#count = parts[0] as number
    sum.#left = (parts[1] as number) | 0
    sum.#right = (parts[2] as number) | 0
    return sum
  }
}
