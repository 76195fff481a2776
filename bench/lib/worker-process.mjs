// A worker in a process of its own: runs one contender's worker, counts starts and ends by task, reports its own CPU and heap.

import { sendEvent, serveParent } from './child.mjs'
import { nowMs } from './clock.mjs'
import { contenderById } from './contenders.mjs'
import { startProfile, stopProfile } from './profile.mjs'

let worker
let tally

const newTally = (tasks) => ({
  tasks,
  starts: new Uint8Array(tasks),
  ends: new Uint8Array(tasks),
  started: 0,
  ended: 0,
  firstStartMs: 0,
  cpu: undefined,
  loop: undefined,
})

const onStart = (index) => {
  if (tally.started === 0) {
    tally.firstStartMs = nowMs()
    tally.cpu = process.cpuUsage()
    tally.loop = performance.eventLoopUtilization()
  }
  tally.starts[index] += 1
  tally.started += 1
  if (tally.started === tally.tasks) sendEvent('all-started')
}

const onEnd = (index) => {
  tally.ends[index] += 1
  tally.ended += 1
}

const countOf = (counts, test) => counts.reduce((sum, count) => sum + (test(count) ? 1 : 0), 0)

serveParent({
  start: async ({ contender, tasks = 0, ...options }) => {
    tally = newTally(tasks)
    worker = await (await contenderById(contender)).startWorker({ ...options, onStart, onEnd })
  },
  report: () => {
    const cpu = process.cpuUsage(tally.cpu)
    return {
      firstStartMs: tally.firstStartMs,
      started: tally.started,
      ended: tally.ended,
      neverStarted: countOf(tally.starts, (count) => count === 0),
      startedTwice: countOf(tally.starts, (count) => count > 1),
      endedTwice: countOf(tally.ends, (count) => count > 1),
      cpuMicros: cpu.user + cpu.system,
      loopBusy: tally.loop && performance.eventLoopUtilization(tally.loop).utilization,
    }
  },
  memory: () => {
    for (let pass = 0; pass < 3; pass++) globalThis.gc?.()
    const { heapUsed, rss, external } = process.memoryUsage()
    return { heapBytes: heapUsed, rssBytes: rss, externalBytes: external }
  },
  startProfile,
  stopProfile,
  stop: async () => {
    await worker.stop()
  },
})
