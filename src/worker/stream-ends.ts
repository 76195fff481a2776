import type { Ends } from '../store/control-reader.ts'
import type { ControlStream, TakenEntry } from '../store/control-streams.ts'

/** So long it is believed where the streams end. */
const BELIEVED_MS = 5_000

/**
 * Where the streams end, behind all that was handed out, while that is known. Whatever comes beyond is new: a worker with
 * fewer free slots than streams waits for it without taking it, and then asks those streams alone on which it came.
 */
export class StreamEnds {
  #ends: Ends | undefined
  #askedAt = Number.NEGATIVE_INFINITY
  #news: readonly ControlStream[] = []

  get known(): Ends | undefined {
    return this.#ends
  }

  /** All streams that have something; none if it is not known which. */
  get news(): readonly ControlStream[] {
    return this.#news
  }

  forget(): void {
    this.#ends = undefined
    this.#news = []
  }

  /** All streams were asked, at `askedAt` by `performance.now()`. */
  learn(ends: Ends | undefined, askedAt: number): void {
    this.#ends = ends
    this.#askedAt = askedAt
    this.#news = []
  }

  /** Something came beyond. */
  cameOn(streams: readonly ControlStream[]): void {
    this.#news = streams
  }

  /** The streams with news were asked and brought `entries`, which is all that they had if `isAll`. */
  follow(entries: readonly TakenEntry[], isAll: boolean): void {
    const last = new Map(entries.map(({ stream, id }) => [stream.key, id]))
    // From where there was nothing any more another worker has taken, who knows how much.
    const isKnown = isAll && last.size === this.#news.length && performance.now() - this.#askedAt < BELIEVED_MS
    this.#ends = isKnown && this.#ends !== undefined ? new Map([...this.#ends, ...last]) : undefined
    this.#news = []
  }
}
