import type { KinReader, TaskKin } from '../store/kin.ts'
import { OneAtATime } from '../util/one-at-a-time.ts'

/** The tasks of a session that have no end, those above them, and who was sent on whose behalf. */
export class Kinship {
  readonly all: readonly TaskKin[]
  readonly #childrenOf = new Map<string, TaskKin[]>()

  constructor(all: readonly TaskKin[]) {
    this.all = all
    for (const task of all) {
      const siblings = this.#childrenOf.get(task.parentMessageId)
      if (siblings === undefined) this.#childrenOf.set(task.parentMessageId, [task])
      else siblings.push(task)
    }
  }

  /** All of them that were sent on behalf of a task, or on behalf of that. */
  below(messageId: string): readonly TaskKin[] {
    const found = new Set<TaskKin>()
    const open = [messageId]
    for (let above = open.pop(); above !== undefined; above = open.pop()) {
      for (const child of this.#childrenOf.get(above) ?? []) {
        if (found.has(child)) continue
        found.add(child)
        open.push(child.messageId)
      }
    }
    return [...found]
  }
}

interface Reading {
  readonly reads: OneAtATime<Kinship | { readonly fault: unknown }>
  users: number
}

/**
 * Reads the kinships of sessions, each session's once at a time: whoever asks while a read is under way, which may have
 * begun too early, has the next together with all others. So to cancel many tasks of a session costs a few reads of it.
 */
export class Kinships {
  readonly #kin: KinReader
  readonly #readings = new Map<string, Reading>()

  constructor(kin: KinReader) {
    this.#kin = kin
  }

  /** As it is at this moment, or later. */
  async of(sessionId: string): Promise<Kinship> {
    const reading = this.#readings.get(sessionId) ?? this.#open(sessionId)
    reading.users += 1
    const found = await reading.reads.run()
    reading.users -= 1
    if (reading.users === 0) this.#readings.delete(sessionId)
    if ('fault' in found) throw found.fault
    return found
  }

  #open(sessionId: string): Reading {
    const reading = { reads: new OneAtATime(() => this.#read(sessionId)), users: 0 }
    this.#readings.set(sessionId, reading)
    return reading
  }

  async #read(sessionId: string): Promise<Kinship | { readonly fault: unknown }> {
    try {
      return new Kinship(await this.#kin.open(sessionId))
    } catch (fault) {
      return { fault }
    }
  }
}
