import { InvalidArgumentError } from 'commander'

/** Reads a count or a time given to an option; commander names the option and the value around the reason. */
export function positiveInteger(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0) return value
  throw new InvalidArgumentError('It must be a whole number above 0.')
}
