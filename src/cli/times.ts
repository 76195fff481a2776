import { span } from '../util/span.ts'

/** How long ago a point in time is, in whole seconds at least: Redis and this machine have clocks of their own. */
export function ago(unixMs: number): string {
  const seconds = Math.floor((Date.now() - unixMs) / 1_000)
  return seconds < 1 ? 'now' : span(seconds * 1_000)
}

/** How long something took that has ended; `-` for what has not. */
export function lasted(startedAt: number | null, finishedAt: number | null): string {
  return startedAt === null || finishedAt === null ? '-' : span(finishedAt - startedAt)
}

/** The time of day on this machine, to the millisecond. */
export function clock(unixMs: number): string {
  const date = new Date(unixMs)
  const two = (value: number, length = 2) => String(value).padStart(length, '0')
  const seconds = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  return `${seconds}.${two(date.getMilliseconds(), 3)}`
}
