import { setTimeout as sleep } from 'node:timers/promises'

/** Monotonic milliseconds that processes of one machine can compare. */
export const nowMs = () => Number(process.hrtime.bigint()) / 1e6

/** Rejects when the work takes longer. */
export const within = async (ms, what, work) => {
  const timer = new AbortController()
  const tooLong = sleep(ms, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`${what} took longer than ${ms} ms`)
  })
  try {
    return await Promise.race([work, tooLong])
  } finally {
    tooLong.catch(() => undefined) // aborted below
    timer.abort()
  }
}
