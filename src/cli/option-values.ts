import { InvalidArgumentError } from 'commander'
import { MOST_TIMER_MS } from '../util/timer.ts'

/** Reads a count given to an option; commander names the option and the value around the reason. */
export function positiveInteger(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0) return value
  throw new InvalidArgumentError('It must be a whole number above 0.')
}

/** Reads a time in ms given to an option. */
export function milliseconds(text: string): number {
  const value = positiveInteger(text)
  if (value <= MOST_TIMER_MS) return value
  throw new InvalidArgumentError(`It must be at most ${MOST_TIMER_MS}.`)
}

/** Reads an amount given to an option. */
export function positiveNumber(text: string): number {
  const value = Number(text)
  if (/^\d+(\.\d+)?$/.test(text) && value > 0) return value
  throw new InvalidArgumentError('It must be a number above 0.')
}

const SPANS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Reads a point in time given to an option, as Unix ms: so long ago, a date, or Unix ms. */
export function pointInTime(text: string): number {
  const [, count, unit = ''] = /^(\d+)([smhd])$/.exec(text) ?? []
  const span = SPANS[unit]
  if (span !== undefined) return Math.max(0, Date.now() - Number(count) * span)
  const value = /^\d{9,16}$/.test(text) ? Number(text) : Date.parse(text)
  if (/^\d{4}-\d\d-\d\d|^\d{9,16}$/.test(text) && value >= 0) return value
  throw new InvalidArgumentError('It must be so long ago (90s, 5m, 2h, 3d), a date (2026-05-01T12:00Z) or Unix ms.')
}
