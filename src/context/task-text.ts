import type { EventBody } from '../protocol/event.ts'
import type { Said } from './hold-back.ts'

/** Text beyond this is not kept; whoever wants it reads the stream. */
const MAX_LENGTH = 262_144

/** What all chunks of one attempt say together, cut off at 256 Ki characters. */
export class TaskText {
  #text = ''
  #isPartial = false

  add(body: EventBody): void {
    if (body.type === 'chunk' && this.#text.length < MAX_LENGTH) this.#text += body.content
  }

  /** Steps were passed whose words are on the stream only. */
  miss(): void {
    this.#isPartial = true
  }

  /** True after that. */
  get isPartial(): boolean {
    return this.#isPartial
  }

  /** True if {@link kept} is all of it: nothing is missing or cut off. */
  get isWhole(): boolean {
    return !this.#isPartial && this.#text.length < MAX_LENGTH
  }

  /** Becomes what stands in the stream. */
  complete(said: readonly Said[]): void {
    this.#text = textOf(said).slice(0, MAX_LENGTH)
  }

  /** As much of it as is held. */
  get kept(): string {
    return this.#text
  }
}

/** The text of all chunks among them. */
export function textOf(said: readonly Said[]): string {
  return said.map(({ body }) => (body.type === 'chunk' ? body.content : '')).join('')
}
