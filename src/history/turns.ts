import { type Deferred, deferred } from '../util/deferred.ts'
import type { Parcel } from './parcel.ts'

/** How long a turn lasts for which nobody waits, in ms. */
const TURN_MS = 2
/** Where so many have spoken in one turn, the next one lasts that long in any case: a call costs as much as what some ten tasks say. */
const CROWD = 8

/** What was said at about the same time, by all tasks. */
interface Turn {
  readonly parcels: Parcel[]
  readonly sent: Deferred<void>
}

/**
 * Gathers what is said within one turn of a few ms, so that it goes out together. A turn for which somebody waits ends with
 * that of the event loop; but under load, when a few ms more bring much more, it lasts as long as any.
 */
export class Turns {
  readonly #send: (parcels: readonly Parcel[]) => Promise<void>
  #turn: Turn | undefined
  #timer: NodeJS.Timeout | undefined
  #isCrowded = false

  /** @param send - Sends the parcels of a turn. Never rejects. */
  constructor(send: (parcels: readonly Parcel[]) => Promise<void>) {
    this.#send = send
  }

  /** Resolves when the turn was sent. */
  add(parcel: Parcel): Promise<void> {
    this.#turn ??= this.#begin()
    this.#turn.parcels.push(parcel)
    return this.#turn.sent.promise
  }

  /** Somebody waits for what was added until now. */
  hurry(): void {
    if (this.#timer === undefined || this.#isCrowded) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    setImmediate(() => this.#end())
  }

  /** Resolves when all that was added until now was sent. */
  async flushed(): Promise<void> {
    this.hurry()
    await this.#turn?.sent.promise
  }

  #begin(): Turn {
    this.#timer = setTimeout(() => this.#end(), TURN_MS)
    return { parcels: [], sent: deferred() }
  }

  #end(): void {
    const { parcels, sent } = this.#turn as Turn
    this.#turn = undefined
    this.#timer = undefined
    this.#isCrowded = parcels.length >= CROWD
    void this.#send(parcels).then(sent.resolve)
  }
}
