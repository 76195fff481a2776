import { setTimeout as sleep } from 'node:timers/promises'

const GRACE_MS = 3000
const STUCK_MS = 15_000

/** Resolves as soon as nothing of the queue waits or runs; throws when it stops getting less. `onLook` is told what is left. */
export const untilDrained = async (client, contender, queue, { pauseMs = 0, onLook } = {}) => {
  let least = Number.POSITIVE_INFINITY
  let since = Date.now()
  for (;;) {
    const left = await contender.remaining(client, queue)
    await onLook?.(left)
    if (left === 0) return
    if (left < least) {
      least = left
      since = Date.now()
    } else if (Date.now() - since > STUCK_MS) throw new Error(`stuck with ${left} tasks in ${queue}`)
    if (pauseMs > 0) await sleep(pauseMs)
  }
}

/** Ends counted until they are complete or nothing more can come. */
export const settledEnds = async (client, row, worker, options) => {
  const deadline = Date.now() + GRACE_MS
  for (;;) {
    const report = await worker.report()
    const ends = await row.contender.countEnds(client, { ...options, variant: row.variant, report })
    if (ends.ended >= options.tasks || Date.now() > deadline) {
      const lost = options.tasks - ends.ended
      const repeated = ends.repeated + report.startedTwice
      const fault = `lost ${lost}, ended more than once ${ends.repeated}, started more than once ${report.startedTwice}`
      return { report, lost, repeated, fault: lost + repeated > 0 ? fault : undefined }
    }
    await sleep(50)
  }
}
