/** A stretch of code whose operations are numbered by themselves: a handler, the body of a step, a member of a group. */
export class Scope {
  /** The task to which it belongs. */
  readonly task: object
  readonly key: string
  /** The step in whose body it is, by its key; its words belong to that step. */
  readonly step: string | undefined
  readonly #ordinals = new Map<string, number>()

  constructor(task: object, key: string, step: string | undefined) {
    this.task = task
    this.key = key
    this.step = step
  }

  /** The number of the next operation of that kind and name. */
  next(kind: string, name: string): number {
    const id = `${kind}:${name}`
    const ordinal = this.#ordinals.get(id) ?? 0
    this.#ordinals.set(id, ordinal + 1)
    return ordinal
  }
}
