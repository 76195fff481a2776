/**
 * What has become of an attempt: with `ended` its end is recorded, so that its entry can go, with `settled` that is gone
 * already, with `left` somebody else is to end the task, and with `lost` somebody else has it.
 */
export type How = 'settled' | 'ended' | 'left' | 'lost'

/**
 * What is left of an attempt whose handler has come to its end. Hundreds of them wait for Redis in a busy worker, and each
 * collection of young objects copies all that hangs on them: so nothing here holds the `Execution`, nor what was asked.
 * An object, since who awaits a promise of a promise awaits both.
 */
export interface Ending {
  /** Resolves when the end is recorded, or when it is certain that somebody else records one. Rejects if nobody could see to it, as with a logger that throws. */
  readonly how: Promise<How>
}
