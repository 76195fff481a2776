import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Queue, QueueEvents, Worker } from 'bullmq'
import { withResolvers } from '../lib/child.mjs'
import { speak } from '../lib/chunks.mjs'
import { nowMs } from '../lib/clock.mjs'
import { indexOf } from '../lib/payload.mjs'
import { shaNames } from '../lib/scripts.mjs'

const require = createRequire(import.meta.url)

const connectionOf = (port) => ({ host: '127.0.0.1', port, maxRetriesPerRequest: null })

/** `keep`: a finished job stays readable for an hour, as our record does. `remove`: nothing stays, BullMQ at its lightest. */
const KEEP = { id: 'keep', title: 'finished jobs kept 1 h', removeOnComplete: { age: 3600 } }
const REMOVE = { id: 'remove', title: 'finished jobs removed at once', removeOnComplete: { count: 0 }, full: true }
const BULK = 500

const openProducer = async ({ port, queue }) => {
  const target = new Queue(queue, { connection: connectionOf(port) })
  await target.waitUntilReady()
  return {
    send: (_index, payload) => target.add('task', { content: payload }),
    sendMany: async (from, to, payloadOf) => {
      for (let begin = from; begin < to; begin += BULK) {
        const length = Math.min(BULK, to - begin)
        await target.addBulk(
          Array.from({ length }, (_, offset) => ({ name: 'task', data: { content: payloadOf(begin + offset) } })),
        )
      }
    },
    close: () => target.close(),
  }
}

// A BullMQ worker serves one queue, so several capabilities are several workers in one process.
const startWorker = async ({ port, queues, concurrency, variant, chunk, speech, onStart, onEnd }) => {
  const process = async (job) => {
    onStart(indexOf(job.data.content))
    if (chunk) await job.updateProgress('chunk')
    if (speech) await speak(speech, (text) => job.updateProgress(text))
    return { ok: 1 }
  }
  const workers = queues.map((queue) => {
    const worker = new Worker(queue, process, {
      connection: connectionOf(port),
      concurrency,
      removeOnComplete: variant.removeOnComplete ?? KEEP.removeOnComplete,
    })
    worker.on('completed', (job) => onEnd(indexOf(job.data.content)))
    worker.on('error', (error) => console.error('bullmq worker:', error.message))
    return worker
  })
  await Promise.all(workers.map((worker) => worker.waitUntilReady()))
  return { stop: () => Promise.all(workers.map((worker) => worker.close())) }
}

const openAsker = async ({ port, queues }) => {
  const targets = queues.map((queue) => new Queue(queue, { connection: connectionOf(port) }))
  const readers = queues.map((queue) => new QueueEvents(queue, { connection: connectionOf(port) }))
  await Promise.all([...targets, ...readers].map((each) => each.waitUntilReady()))
  let chunk
  let done
  for (const reader of readers) {
    reader.on('progress', () => chunk.resolve(nowMs()))
    reader.on('completed', () => done.resolve())
  }
  return {
    ask: async (queueIndex, payload) => {
      chunk = withResolvers()
      done = withResolvers()
      await targets[queueIndex].add('task', { content: payload })
      return { chunkMs: await chunk.promise, done: done.promise }
    },
    close: () => Promise.all([...targets, ...readers].map((each) => each.close())),
  }
}

/** No event of a measurement may be trimmed before it is read. */
const LONG_STREAM = { events: { maxLen: 1_000_000 } }

const openReaders = async ({ port, queue, onChunk, onDone }) => {
  const target = new Queue(queue, { connection: connectionOf(port), streams: LONG_STREAM })
  const reader = new QueueEvents(queue, { connection: connectionOf(port) })
  await Promise.all([target, reader].map((each) => each.waitUntilReady()))
  const sessionOf = (jobId) => Number(jobId.slice('session-'.length))
  reader.on('progress', ({ jobId, data }) => onChunk(sessionOf(jobId), data))
  reader.on('completed', ({ jobId }) => onDone(sessionOf(jobId)))
  return {
    send: (session, payload) => target.add('task', { content: payload }, { jobId: `session-${session}` }),
    close: () => Promise.all([target, reader].map((each) => each.close())),
  }
}

/** Its scripts by their SHA, to name them in a profile. */
const scriptNames = () => {
  const scripts = require(join(dirname(require.resolve('bullmq')), 'scripts', 'index.js'))
  return shaNames(Object.fromEntries(Object.values(scripts).map(({ name, content }) => [name, content])))
}

export const contender = {
  id: 'bullmq',
  title: 'BullMQ',
  version: () => require('bullmq/package.json').version,
  promises:
    'job hash kept after its end (variant), lock per job checked when it ends (a stale worker is refused), `completed` event with the ' +
    'result in one capped event stream per queue; recovery after a crash by the stalled check (30 s lock, 30 s interval by default)',
  variants: { drain: [KEEP, REMOVE], growth: [REMOVE] },
  openProducer,
  startWorker,
  openAsker,
  openReaders,
  scriptNames,
  remaining: async (redis, queue) => {
    const counts = await Promise.all([redis.llen(`bull:${queue}:wait`), redis.llen(`bull:${queue}:active`)])
    return counts[0] + counts[1]
  },
  // `completed` is told by the worker after Redis accepted the end; the failed set must be empty.
  countEnds: async (redis, { queue, report, from = 0 }) => ({
    ended: report.ended - from - report.endedTwice - (await redis.zcard(`bull:${queue}:failed`)),
    repeated: report.endedTwice,
  }),
}
