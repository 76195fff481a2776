/*
 * Makes a worker that has lost what keeps its output and its calls from doubling, to see whether the audit finds it. It
 * reaches into the built package, for there is no option that does such a thing.
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

type Patched<Method extends string, Value> = { readonly prototype: Record<Method, Value> }

export async function sabotage(what: Sabotage): Promise<void> {
  const root = import.meta.resolve('byclaw-gateway-sdk')
  if (what === 'words') {
    const { Emitter } = (await import(new URL('./context/emitter.js', root).href)) as {
      Emitter: Patched<'resume' | 'rewind', () => void>
    }
    Emitter.prototype.resume = () => undefined
    Emitter.prototype.rewind = () => undefined
    return
  }
  const { Journal } = (await import(new URL('./context/durable/journal.js', root).href)) as {
    Journal: Patched<'claim', (this: unknown, request: unknown) => Claimed>
  }
  const { claim } = Journal.prototype
  const forgotten = new Set<string>()
  Journal.prototype.claim = function (request) {
    const claimed = Reflect.apply(claim, this, [request])
    if (claimed.entry === undefined || forgotten.has(claimed.key)) return claimed
    forgotten.add(claimed.key)
    return { ...claimed, key: `${claimed.key}!again`, entry: undefined, result: undefined } as Claimed
  }
}
