import type { EventBody } from '../protocol/event.ts'
import { Sum } from './sum.ts'

/** An event as a handler said it. */
export interface Said {
  readonly body: EventBody
  readonly metadata: Record<string, unknown> | undefined
  /** The step in whose body it was said, or undefined. */
  readonly step: string | undefined
  /** It is said again, word for word, and counts already. */
  readonly isAgain?: boolean
}

/** What is held back: what the handler said itself, and the steps that it passed, whose words lie in the stream. */
export type Held = Said | { readonly passed: string }

/**
 * What a handler that runs again says before it comes to where the run before it ended. It is on the stream already, so
 * it is held back until as much was said as then; if it is the same, it is dropped.
 */
export class HoldBack {
  readonly #target: Sum
  readonly #sum = new Sum()
  readonly items: Held[] = []

  constructor(target: Sum) {
    this.#target = target
  }

  /** Takes one more event; `undecided` as long as less was said than before. */
  offer(said: Said, text: string): 'undecided' | 'same' | 'different' {
    this.items.push(asItIs(said))
    this.#sum.add(text)
    if (this.#sum.count < this.#target.count) return 'undecided'
    return this.#sum.equals(this.#target) ? 'same' : 'different'
  }
}

/** Whoever has said it may change its data before it is said again. */
function asItIs(said: Said): Said {
  const { body, metadata } = said
  if (body.type === 'chunk' && metadata === undefined) return said
  const copy: Pick<Said, 'body' | 'metadata'> = JSON.parse(JSON.stringify({ body, metadata }))
  return { ...said, ...copy }
}
