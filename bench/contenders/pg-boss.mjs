import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import PgBoss from 'pg-boss'
import { indexOf } from '../lib/payload.mjs'

const BULK = 500
const IDLE_MS = 5
const POOL = 10

/** Only the queue itself: no cron and no supervision beside the measurement. */
const open = async (port, queue) => {
  const connectionString = `postgres://postgres@127.0.0.1:${port}/postgres`
  const boss = new PgBoss({ connectionString, max: POOL, supervise: false, schedule: false })
  boss.on('error', (error) => console.error('pg-boss:', error.message))
  await boss.start()
  await boss.createQueue(queue)
  return boss
}

const close = (boss) => boss.stop({ graceful: true, wait: true })

const openProducer = async ({ port, queue }) => {
  const boss = await open(port, queue)
  return {
    send: (_index, payload) => boss.send(queue, { content: payload }),
    sendMany: async (from, to, payloadOf) => {
      for (let begin = from; begin < to; begin += BULK) {
        const length = Math.min(BULK, to - begin)
        await boss.insert(
          Array.from({ length }, (_, offset) => ({ name: queue, data: { content: payloadOf(begin + offset) } })),
        )
      }
    },
    close: () => close(boss),
  }
}

// `work` polls every half second at the soonest; the loop of `fetch` and `complete`, its documented other way, has no such pause.
const startWorker = async ({ port, queues: [queue], concurrency, onStart, onEnd }) => {
  const boss = await open(port, queue)
  const handle = async (job) => {
    onStart(indexOf(job.data.content))
    return { ok: 1 }
  }
  let stopping = false
  const loop = async () => {
    while (!stopping) {
      const jobs = await boss.fetch(queue, { batchSize: concurrency })
      if (jobs.length === 0) {
        await sleep(IDLE_MS)
        continue
      }
      await Promise.all(jobs.map(handle))
      await boss.complete(
        queue,
        jobs.map(({ id }) => id),
      )
      for (const job of jobs) onEnd(indexOf(job.data.content))
    }
  }
  const running = loop()
  return {
    stop: async () => {
      stopping = true
      await running
      await close(boss)
    },
  }
}

export const contender = {
  id: 'pg-boss',
  title: 'pg-boss on Postgres (fsync off)',
  version: () => createRequire(import.meta.url)('pg-boss/package.json').version,
  server: 'postgres',
  scenarios: ['drain', 'enqueue'],
  promises:
    'row kept after its end, taken with SKIP LOCKED and completed by batches of the concurrency; an end is not fenced by attempt; no event; ' +
    'recovery after a crash when a job expires (15 minutes by default). The server’s CPU is that of all Postgres processes, its bytes are those of the database',
  variants: {},
  openProducer,
  startWorker,
  remaining: async (client, queue) => {
    const { rows } = await client.query(
      "SELECT count(*)::int AS count FROM pgboss.job WHERE name = $1 AND state < 'completed'",
      [queue],
    )
    return rows[0].count
  },
  countEnds: async (client, { queue, report }) => {
    const { rows } = await client.query(
      "SELECT count(*)::int AS count FROM pgboss.job WHERE name = $1 AND state = 'completed'",
      [queue],
    )
    return { ended: rows[0].count, repeated: report.endedTwice }
  },
}
