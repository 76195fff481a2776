import type { Said } from './hold-back.ts'
import type { Outbox } from './outbox.ts'
import type { Pending } from './pending.ts'

/**
 * What an attempt takes back and says again. A rewrite begins when all that was said before is written; what is said
 * meanwhile waits behind it. One at a time.
 */
export class Rewrites {
  readonly #outbox: Outbox
  readonly #pend: (said: Said) => Pending
  #last: Promise<void> = Promise.resolve()
  #underWay = 0
  /** Events of a rewrite that have not gone out yet. */
  #unwritten = 0

  constructor(outbox: Outbox, pend: (said: Said) => Pending) {
    this.#outbox = outbox
    this.#pend = pend
  }

  /** True while there is one: what is said then waits behind it. */
  get isUnderWay(): boolean {
    return this.#underWay > 0
  }

  /** True while a part of one has gone out. */
  get isHalfWritten(): boolean {
    return this.#unwritten > 0
  }

  /** Says what `make` answers, which is called when its turn has come; resolves when Redis has it. */
  run(make: () => Promise<readonly Said[]>): Promise<void> {
    this.#underWay += 1
    this.#outbox.shut()
    const rewriting = this.#last.then(() => this.#rewrite(make))
    this.#last = rewriting.catch(() => undefined) // whoever asked for it is told
    return rewriting
  }

  /** So many events go out. */
  leaving(count: number): void {
    this.#unwritten = Math.max(this.#unwritten - count, 0)
  }

  async #rewrite(make: () => Promise<readonly Said[]>): Promise<void> {
    try {
      await this.#outbox.drained()
      const events = await make()
      this.#unwritten = events.length
      this.#outbox.slip(events.map((said) => this.#pend(said)))
      await this.#outbox.drained()
    } finally {
      this.#underWay -= 1
      if (this.#underWay === 0) this.#outbox.open()
      this.#outbox.goOn()
    }
  }
}
