import { Journal } from '../src/context/durable/journal.ts'
import { Emitter } from '../src/context/emitter.ts'

/*
 * Makes a worker that has lost what keeps its output and its calls from doubling, to see whether the audit finds it. It
 * reaches into the library, for there is no option that does such a thing; so such a worker runs the sources, and not what
 * was built of them: see sabotage.tsconfig.json.
 */

/** What a worker has lost. */
export const SABOTAGES = [
  /** Whoever runs again says all of it again, and takes nothing back. */
  'words',
  /** One run of a handler forgets what the one before has called. */
  'calls',
] as const

export type Sabotage = (typeof SABOTAGES)[number]

interface Claimed {
  readonly key: string
  readonly entry: unknown
}

export function sabotage(what: Sabotage): void {
  if (what === 'words') {
    Emitter.prototype.resume = () => undefined
    Emitter.prototype.rewind = () => undefined
    return
  }
  const journal = Journal.prototype as unknown as {
    claim: (this: unknown, request: unknown) => Claimed
  }
  const { claim } = journal
  const forgotten = new Set<string>()
  journal.claim = function (request) {
    const claimed = Reflect.apply(claim, this, [request])
    if (claimed.entry === undefined || forgotten.has(claimed.key)) return claimed
    forgotten.add(claimed.key)
    return { ...claimed, key: `${claimed.key}!again`, entry: undefined, result: undefined } as Claimed
  }
}
