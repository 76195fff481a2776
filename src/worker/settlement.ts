import type { Logger } from '../logger.ts'
import type { ControlReader } from '../store/control-reader.ts'
import type { EntryRef } from '../store/control-streams.ts'
import { sleep } from '../util/sleep.ts'

const RETRY_MS = 200
const ATTEMPTS_AT_STOP = 5

/**
 * Entries of ended tasks that wait for their ack and deletion: all of one turn of the event loop in one call. The loop
 * that reads next sends them along in the same write. An ack that failed is tried again with the next ones.
 */
export class Settlement {
  readonly #reader: ControlReader
  readonly #logger: Logger
  #pending = new Map<string, string[]>()
  #scheduled = false
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(reader: ControlReader, logger: Logger) {
    this.#reader = reader
    this.#logger = logger
  }

  add({ stream, id }: EntryRef): void {
    this.#put(stream.key, [id])
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => void this.flush())
  }

  /** Resolves when nothing waits any more; gives up after a few failures, because acks can be repeated by others. */
  async flushed(): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS_AT_STOP; attempt += 1) {
      await Promise.allSettled(this.#underWay)
      if (this.#pending.size === 0) return
      if (!(await this.flush())) await sleep(RETRY_MS)
    }
  }

  /** Sends what waits now; false if that failed. Never rejects. */
  async flush(): Promise<boolean> {
    this.#scheduled = false
    if (this.#pending.size === 0) return true
    const settled = this.#pending
    this.#pending = new Map()
    const call = this.#reader.settle(settled)
    this.#underWay.add(call)
    try {
      await call
      return true
    } catch (error) {
      for (const [key, ids] of settled) this.#put(key, ids)
      this.#logger.warn({ err: error }, 'ended tasks are not acked yet; they go with the next acks')
      return false
    } finally {
      this.#underWay.delete(call)
    }
  }

  #put(key: string, ids: readonly string[]): void {
    const waiting = this.#pending.get(key)
    if (waiting === undefined) this.#pending.set(key, [...ids])
    else waiting.push(...ids)
  }
}
