import { createRequire } from 'node:module'
import { Queue, Worker } from 'groupmq'
import { Redis } from 'ioredis'
import { indexOf } from '../lib/payload.mjs'

const IN_FLIGHT = 1_000
const KEEP = 1_000_000
/** Collects what is added within a millisecond, which its documentation recommends for many adds. */
const BATCHES = { size: 100, maxWaitMs: 1 }

const GROUPS = { id: 'shared', title: '100 groups', groups: 100 }
const OWN = { id: 'own', title: 'a group per job', groups: 1_000_000_000 }

const open = (port, namespace, options) => {
  const redis = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null })
  return { redis, queue: new Queue({ redis, namespace, ...options }) }
}

const openProducer = async ({ port, queue: name, variant }) => {
  const { redis, queue } = open(port, name, { keepCompleted: KEEP, autoBatch: variant.autoBatch ?? false })
  const bulk = open(port, name, { keepCompleted: KEEP, autoBatch: BATCHES })
  const jobOf = (index, payload) => ({
    groupId: `g-${index % (variant.groups ?? GROUPS.groups)}`,
    data: { content: payload },
  })
  return {
    send: (index, payload) => queue.add(jobOf(index, payload)),
    sendMany: async (from, to, payloadOf) => {
      for (let begin = from; begin < to; begin += IN_FLIGHT) {
        const length = Math.min(IN_FLIGHT, to - begin)
        const add = (_, offset) => bulk.queue.add(jobOf(begin + offset, payloadOf(begin + offset)))
        await Promise.all(Array.from({ length }, add))
      }
    },
    close: async () => {
      for (const each of [queue, bulk.queue]) await each.close()
      for (const each of [redis, bulk.redis]) each.disconnect()
    },
  }
}

const startWorker = async ({ port, queues: [name], concurrency, onStart, onEnd }) => {
  const { redis, queue } = open(port, name, { keepCompleted: KEEP })
  const worker = new Worker({
    queue,
    concurrency,
    handler: async (job) => {
      onStart(indexOf(job.data.content))
      return { ok: 1 }
    },
  })
  worker.on('completed', (job) => onEnd(indexOf(job.data.content)))
  worker.on('error', (error) => console.error('groupmq worker:', error.message))
  const running = worker.run()
  return {
    stop: async () => {
      await worker.close()
      await running
      redis.disconnect()
    },
  }
}

export const contender = {
  id: 'groupmq',
  title: 'groupmq',
  version: () => createRequire(import.meta.url)('groupmq/package.json').version,
  scenarios: ['drain', 'enqueue', 'herd', 'delay'],
  promises:
    'order within a group, one job of a group at a time; job hash with its result kept after its end, no fence by attempt, no event; recovery after a crash by ' +
    'the stalled check (30 s by default)',
  variants: {
    drain: [GROUPS, OWN],
    herd: [GROUPS],
    delay: [{ ...GROUPS, autoBatch: BATCHES }],
    enqueue: [
      { id: 'single', title: 'one by one' },
      { id: 'batch', title: 'autoBatch of 100', autoBatch: BATCHES },
    ],
  },
  openProducer,
  startWorker,
  remaining: async (redis, queue) => {
    const space = `groupmq:${queue}`
    const groups = await redis.smembers(`${space}:groups`)
    const pipeline = redis.pipeline().zcard(`${space}:processing`)
    for (const group of groups) pipeline.zcard(`${space}:g:${group}`)
    const counts = await pipeline.exec()
    return counts.reduce((sum, [, count]) => sum + count, 0)
  },
  // `completed` is told by the worker after Redis accepted the end.
  countEnds: async (redis, { queue, report }) => ({
    ended: report.ended - report.endedTwice - (await redis.zcard(`groupmq:${queue}:failed`)),
    repeated: report.endedTwice,
  }),
}
