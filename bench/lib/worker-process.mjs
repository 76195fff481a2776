// Workers in a process of their own: runs one contender's, counts starts and ends by task, reports its own CPU and heap.

import { sendEvent, serveParent } from './child.mjs'
import { nowMs } from './clock.mjs'
import { contenderById } from './contenders.mjs'
import { startProfile, stopProfile } from './profile.mjs'
import { newTally } from './tally.mjs'

let running = []
let tally

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
}

serveParent({
  start: async ({ contender, tasks = 0, workers = 1, ...options }) => {
    tally = newTally(tasks)
    const { startWorker } = await contenderById(contender)
    running = await Promise.all(
      Array.from({ length: workers }, (_, number) =>
        startWorker({ ...options, name: `${process.pid}-${number}`, onStart, onEnd }),
      ),
    )
  },
  report: () => {
    const { starts, ends, firstStartMs } = tally
    const cpu = process.cpuUsage(tally.cpu)
    return {
      ...{ starts, ends, firstStartMs },
      cpuMicros: tally.cpu === undefined ? 0 : cpu.user + cpu.system,
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
    await Promise.all(running.map((worker) => worker.stop()))
  },
})
