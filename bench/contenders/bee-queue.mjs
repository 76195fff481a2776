import { createRequire } from 'node:module'
import Queue from 'bee-queue'
import { indexOf } from '../lib/payload.mjs'

const BULK = 500

/** What its documentation recommends for throughput: no events over Pub/Sub and no table of jobs where nobody needs them. */
const SETTINGS = { getEvents: false, sendEvents: false, storeJobs: false, activateDelayedJobs: false }

const open = async (port, queue, settings) => {
  const target = new Queue(queue, { redis: { host: '127.0.0.1', port }, ...SETTINGS, ...settings })
  target.on('error', (error) => console.error('bee-queue:', error.message))
  await target.ready()
  return target
}

const openProducer = async ({ port, queue }) => {
  const target = await open(port, queue, { isWorker: false })
  return {
    send: (_index, payload) => target.createJob({ content: payload }).save(),
    sendMany: async (from, to, payloadOf) => {
      for (let begin = from; begin < to; begin += BULK) {
        const length = Math.min(BULK, to - begin)
        const jobs = Array.from({ length }, (_, offset) => target.createJob({ content: payloadOf(begin + offset) }))
        const failed = await target.saveAll(jobs)
        if (failed.size > 0) throw [...failed.values()][0]
      }
    },
    close: () => target.close(),
  }
}

const startWorker = async ({ port, queues, concurrency, onStart, onEnd }) => {
  const workers = await Promise.all(queues.map((queue) => open(port, queue, { removeOnSuccess: true })))
  for (const worker of workers) {
    worker.on('succeeded', (job) => onEnd(indexOf(job.data.content)))
    worker.process(concurrency, async (job) => {
      onStart(indexOf(job.data.content))
      return { ok: 1 }
    })
  }
  return { stop: () => Promise.all(workers.map((worker) => worker.close())) }
}

export const contender = {
  id: 'bee-queue',
  title: 'bee-queue, finished jobs removed at once',
  version: () => createRequire(import.meta.url)('bee-queue/package.json').version,
  scenarios: ['drain', 'enqueue', 'herd', 'delay', 'backlog'],
  promises:
    'nothing is kept of a finished job (its quickest setting), an end is not fenced by attempt, no event; recovery after a crash by the stall check ' +
    '(5 s interval by default, run by hand)',
  variants: {},
  openProducer,
  startWorker,
  remaining: async (redis, queue) => {
    const counts = await Promise.all([redis.llen(`bq:${queue}:waiting`), redis.llen(`bq:${queue}:active`)])
    return counts[0] + counts[1]
  },
  // `succeeded` is told by the worker after Redis accepted the end.
  countEnds: async (redis, { queue, report }) => ({
    ended: report.ended - report.endedTwice - (await redis.scard(`bq:${queue}:failed`)),
    repeated: report.endedTwice,
  }),
}
