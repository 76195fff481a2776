import { setTimeout as sleep } from 'node:timers/promises'
import { startChild } from '../lib/child.mjs'
import { startCrew } from '../lib/crew.mjs'
import { settledEnds, untilDrained } from '../lib/drained.mjs'
import { megabytes, whole } from '../lib/format.mjs'
import { memoryOf } from '../lib/redis-stats.mjs'
import { remoteOf, rowsOf } from '../lib/row.mjs'

const QUEUE = 'growth'
const CONCURRENCY = 100
/** Small enough that a slice's `done` events are counted before they expire. */
const SLICE = 1000
const FIFTHS = 5
const EXPIRY_LIMIT_MS = 15_000

/** Waits until what has a time to live is gone: the key count stands still. */
const untilExpired = async (redis, ttlMs) => {
  if (ttlMs) await sleep(ttlMs)
  const deadline = Date.now() + EXPIRY_LIMIT_MS
  let keys = await redis.dbsize()
  while (Date.now() < deadline) {
    await sleep(250)
    const now = await redis.dbsize()
    if (now === keys) return
    keys = now
  }
}

const runSlice = async (redis, row, { worker, client, from }) => {
  await client.call('sendMany', { from, to: from + SLICE })
  await untilDrained(redis, row.contender, QUEUE, { pauseMs: 5 })
  const { lost, repeated } = await settledEnds(redis, row, worker, { queue: QUEUE, from, tasks: SLICE })
  return { lost, repeated }
}

const measure = async (row, { server: { port, redis } }) => {
  await redis.flushall()
  const remote = remoteOf(row, port)
  const worker = startCrew(1, { execArgv: ['--expose-gc'] })
  const client = startChild('client-process')
  try {
    await worker.start({ ...remote, queues: [QUEUE], concurrency: CONCURRENCY, tasks: row.tasks })
    await client.call('openProducer', { ...remote, queue: QUEUE })
    const samples = []
    let lost = 0
    let repeated = 0
    for (let from = 0; from < row.tasks; from += SLICE) {
      const slice = await runSlice(redis, row, { worker, client, from })
      lost += slice.lost
      repeated += slice.repeated
      if ((from + SLICE) % (row.tasks / FIFTHS) !== 0) continue
      const peak = await memoryOf(redis)
      await untilExpired(redis, row.variant.ttlMs)
      samples.push({ tasks: from + SLICE, peak, rest: await memoryOf(redis), worker: await worker.memory() })
    }
    await client.call('closeProducer')
    await worker.stop()
    const [first] = samples
    const last = samples.at(-1)
    const between = last.tasks - first.tasks
    return {
      redisGrowth: (last.rest.bytes - first.rest.bytes) / between,
      heapGrowth: (last.worker.heapBytes - first.worker.heapBytes) / between,
      keysAtRest: last.rest.keys,
      lost,
      repeated,
      void: lost + repeated > 0 ? `lost ${lost}, repeated ${repeated}` : undefined,
      details: { samples },
      lines: samples.map(
        ({ tasks, peak, rest, worker: memory }) =>
          `${whole(tasks).padStart(9)} tasks: Redis ${megabytes(peak.bytes)} MB in ${whole(peak.keys)} keys, after expiry ` +
          `${megabytes(rest.bytes)} MB in ${whole(rest.keys)} keys; worker heap ${megabytes(memory.heapBytes)} MB, rss ${megabytes(memory.rssBytes)} MB`,
      ),
    }
  } finally {
    await Promise.all([client.close(), worker.close()])
  }
}

/** Many tasks through one worker: neither Redis nor the heap may grow beyond what times to live explain. */
export const scenario = {
  id: 'growth',
  title: 'Growth: Redis and heap while many tasks pass one worker',
  note: 'Growth is taken between the first and the last fifth, after a full collection and after times to live have passed.',
  groups: (contenders, { quick }) => {
    const tasks = quick ? 20_000 : 200_000
    const some = quick ? contenders.filter(({ id }) => id === 'byclaw') : contenders
    return [
      {
        id: 'growth',
        maxRounds: 1,
        title: `${whole(tasks)} tasks at concurrency ${CONCURRENCY}`,
        rows: rowsOf(some, 'growth', { tasks }),
      },
    ]
  },
  measure,
  columns: [
    { key: 'redisGrowth', title: 'Redis B/task', format: whole },
    { key: 'heapGrowth', title: 'heap B/task', format: whole },
    { key: 'keysAtRest', title: 'keys at rest', format: whole },
    { key: 'lost', title: 'lost', format: whole },
    { key: 'repeated', title: 'repeated', format: whole },
  ],
}
