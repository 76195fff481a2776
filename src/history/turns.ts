import { type Deferred, deferred } from '../util/deferred.ts'
import type { Parcel } from './parcel.ts'

/** Where so many have spoken in one turn, the next one lasts a few ms: a call costs as much as what some ten tasks say. */
const CROWD = 8
const CROWD_MS = 2

/** What was said at about the same time, by all tasks. */
interface Turn {
  readonly parcels: Parcel[]
  readonly sent: Deferred<void>
}

/**
 * Gathers what is said within one turn of the event loop, so that it goes out together. Under load, when a few ms more
 * bring much more, a turn lasts that long.
 */
export class Turns {
  readonly #send: (parcels: readonly Parcel[]) => Promise<void>
  #turn: Turn | undefined
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

  #begin(): Turn {
    const turn: Turn = { parcels: [], sent: deferred() }
    const end = () => {
      this.#turn = undefined
      this.#isCrowded = turn.parcels.length >= CROWD
      void this.#send(turn.parcels).then(turn.sent.resolve)
    }
    if (this.#isCrowded) setTimeout(end, CROWD_MS)
    else setImmediate(end)
    return turn
  }
}
