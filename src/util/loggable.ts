import { errorMessage } from '../errors.ts'

/** Longest text of an error in a log, in characters. */
const MOST_LENGTH = 16_384
/** So many causes are looked at. */
const MOST_CAUSES = 10

/**
 * What somebody's code threw, as a log can take it: itself, or an error with its text if it throws when it is looked at, which would
 * throw in the middle of whoever logs, or says more than 16 Ki characters.
 */
export function loggable(error: unknown): unknown {
  const text = errorMessage(error)
  if (text.length > MOST_LENGTH) return new Error(`${text.slice(0, MOST_LENGTH)}…`)
  return isReadable(error) ? error : new Error(text)
}

/** False for what throws when all of it is looked at, as a log does. */
export function isReadable(error: unknown): boolean {
  try {
    let at = error
    for (let causes = 0; causes < MOST_CAUSES && typeof at === 'object' && at !== null; causes += 1) {
      for (const key in at) void (at as Record<string, unknown>)[key]
      if (!(at instanceof Error)) return true
      void [at.name, at.message, at.stack]
      at = at.cause
    }
    return true
  } catch {
    return false
  }
}
