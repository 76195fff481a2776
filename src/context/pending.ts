import type { TaskRef } from '../protocol/ids.ts'
import type { Commit, CommitEnd } from '../store/data-writer.ts'
import { type Deferred, deferred } from '../util/deferred.ts'

const MAX_EVENTS_PER_COMMIT = 256
const MAX_LENGTH_PER_COMMIT = 262_144

/** An event that waits to be written. */
export interface Pending {
  readonly json: string
  /** About how long the JSON is. */
  readonly length: number
  /** What counts for the sum, if anything does. */
  readonly counted: string | readonly string[] | undefined
  readonly end: CommitEnd | undefined
  readonly settled: Deferred<void>
}

/** One event, encoded. No literal; see {@link deferred}. */
export class Utterance implements Pending {
  readonly json: string
  readonly counted: Pending['counted']
  readonly end: CommitEnd | undefined
  readonly settled = deferred()

  constructor(json: string, counted: Pending['counted'], end: CommitEnd | undefined) {
    this.json = json
    this.counted = counted
    this.end = end
  }

  get length(): number {
    return this.json.length
  }
}

/** Chunks that become one event, as long as that is not on its way. */
export class JoinedChunks implements Pending {
  readonly end = undefined
  readonly settled = deferred()
  readonly #texts: string[] = []
  readonly #encode: (text: string) => string
  readonly #sort: string
  readonly #counted: ((text: string) => string) | undefined
  readonly #mostLength: number
  #length = 0
  #json: string | undefined

  /**
   * @param sort - Chunks of other sorts are other events.
   * @param counted - What of each counts for the sum, if anything does: how they are joined is other in each run.
   * @param mostLength - So long several may become together.
   */
  constructor(
    sort: string,
    counted: ((text: string) => string) | undefined,
    encode: (text: string) => string,
    mostLength: number,
  ) {
    this.#mostLength = mostLength
    this.#sort = sort
    this.#counted = counted
    this.#encode = encode
  }

  /** False if the chunk is of another sort, the event on its way, or together they would be too long. */
  add(sort: string, text: string): boolean {
    if (sort !== this.#sort || this.#json !== undefined) return false
    if (this.#texts.length > 0 && this.#length + text.length > this.#mostLength) return false
    this.#texts.push(text)
    this.#length += text.length
    return true
  }

  get length(): number {
    return this.#length
  }

  get counted(): readonly string[] | undefined {
    return this.#counted === undefined ? undefined : this.#texts.map(this.#counted)
  }

  get json(): string {
    this.#json ??= this.#encode(this.#texts.join(''))
    return this.#json
  }
}

/** What goes out at a time. No literal; see {@link deferred}. */
export class Words implements Commit {
  readonly sessionId: string
  readonly messageId: string
  readonly fence: string
  readonly first: number
  readonly events: readonly string[]
  readonly lastId: string
  readonly sum: string | undefined
  readonly end?: CommitEnd

  constructor(
    { sessionId, messageId, fence }: TaskRef & { readonly fence: string },
    { first, batch, lastId, sum }: Pick<Words, 'first' | 'lastId' | 'sum'> & { readonly batch: readonly Pending[] },
  ) {
    this.sessionId = sessionId
    this.messageId = messageId
    this.fence = fence
    this.first = first
    this.events = batch.map(({ json }) => json)
    this.lastId = lastId
    this.sum = sum
    const end = batch.at(-1)?.end
    if (end !== undefined) this.end = end
  }
}

/** Takes from a queue what goes out together: as much as one call of the server should carry for one task. */
export function takeBatch(queue: Pending[]): readonly Pending[] {
  let size = 0
  let length = 0
  while (size < queue.length && size < MAX_EVENTS_PER_COMMIT) {
    length += (queue[size] as Pending).length
    if (size > 0 && length > MAX_LENGTH_PER_COMMIT) break
    size += 1
  }
  return queue.splice(0, size)
}
