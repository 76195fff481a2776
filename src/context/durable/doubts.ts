import type { NonDeterminismError } from '../../errors.ts'
import { sleep } from '../../util/sleep.ts'

/** An operation that is new stands in the place of a recorded one, which this run has not asked for yet. */
export interface Doubt {
  /** The key of that one. */
  readonly place: string
  /** What is wrong if it never does. */
  readonly error: NonDeterminismError
}

/** The pause between two looks, in ms. */
const LOOK_MS = 20
/** So many looks in a row must find the handler at rest: not all that it waits for can be seen. */
const MOST_RESTS = 50

/**
 * Operations in doubt. One that overtakes another branch of the handler, in which that one was recorded and will be asked
 * for again, is a new one, and is carried out then. If all branches have come to rest before, the handler calls something
 * else than it did.
 */
export class Doubts {
  readonly #places = new Set<string>()

  /** The places of those that are not settled. */
  get places(): ReadonlySet<string> {
    return this.#places
  }

  /**
   * Resolves when the operation may be carried out.
   *
   * @param isAsked - The recorded one was asked for.
   * @param isAtRest - The handler does nothing but wait, operations in doubt aside; throws when the attempt is over.
   * @throws the doubt's error.
   */
  async resolve({ place, error }: Doubt, isAsked: () => boolean, isAtRest: () => boolean): Promise<void> {
    this.#places.add(place)
    try {
      for (let rests = 0; !isAsked(); ) {
        if (rests === MOST_RESTS) throw error
        await sleep(LOOK_MS)
        rests = isAtRest() ? rests + 1 : 0
      }
    } finally {
      this.#places.delete(place)
    }
  }
}
