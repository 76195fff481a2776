import { startChild } from '../lib/child.mjs'
import { within } from '../lib/clock.mjs'
import { decimal, whole } from '../lib/format.mjs'
import { startRedisMeter } from '../lib/redis-stats.mjs'
import { remoteOf, rowsOf } from '../lib/row.mjs'
import { ascending, percentile } from '../lib/stats.mjs'

const SENDS = 2000
const QUICK_SENDS = 250
// Until then the compilers of the two Node processes are still at work, which is where a p99 would come from.
const WARM_SENDS = 2000
const QUICK_WARM_SENDS = 200
const CONCURRENCY = 50
const LIMIT_MS = 30_000
const gaps = { minGapMs: 1, maxGapMs: 3 }

const measure = async (row, { server: { port, redis } }) => {
  await redis.flushall()
  const remote = remoteOf(row, port)
  const queues = Array.from({ length: row.capabilities }, (_, number) => `latency-${number}`)
  const worker = startChild('worker-process')
  const client = startChild('client-process')
  try {
    const total = row.warmSends + row.sends
    await worker.call('start', { ...remote, queues, concurrency: CONCURRENCY, chunk: true, tasks: total })
    await client.call('openAsker', { ...remote, queues })
    const ask = (from, to) =>
      within(LIMIT_MS, `latency of ${row.id}`, client.call('ask', { from, to, queues: queues.length, ...gaps }))
    await ask(0, row.warmSends)
    const stopMeter = await startRedisMeter(redis)
    const samples = ascending(await ask(row.warmSends, total))
    const used = await stopMeter()
    const report = await worker.call('report')
    await client.call('closeAsker')
    await worker.call('stop')
    return {
      p50: percentile(samples, 50),
      p99: percentile(samples, 99),
      p999: percentile(samples, 99.9),
      redisCpu: used.cpuMicros / row.sends,
      void: report.startedTwice > 0 ? `${report.startedTwice} tasks ran twice` : undefined,
      details: { commands: used.commands, tasks: row.sends },
    }
  } finally {
    await Promise.all([client.close(), worker.close()])
  }
}

/** Idle system: from the send to the first chunk in the reader's hands. */
export const scenario = {
  id: 'latency',
  title: 'Idle latency: send → first chunk at the reader',
  note:
    'One send at a time with gaps of 1–3 ms after each end, after 2,000 that are not counted (200 in a quick run); sender and reader are one process, the worker another. The chunk of BullMQ is ' +
    '`updateProgress` heard through QueueEvents. With 20 capabilities the sends go round them; BullMQ then runs 20 workers in its process.',
  groups: (contenders, { quick }) =>
    [1, 20].map((capabilities) => ({
      id: `latency-${capabilities}`,
      maxRounds: quick && capabilities > 1 ? 1 : undefined,
      title: `${capabilities} ${capabilities === 1 ? 'capability' : 'capabilities'} on the worker, ${whole(quick ? QUICK_SENDS : SENDS)} sends`,
      rows: rowsOf(contenders, 'latency', {
        capabilities,
        sends: quick ? QUICK_SENDS : SENDS,
        warmSends: quick ? QUICK_WARM_SENDS : WARM_SENDS,
      }),
    })),
  measure,
  headline: { key: 'p50', better: 'lower' },
  columns: [
    { key: 'p50', title: 'p50 ms', format: decimal(2), range: true },
    { key: 'p99', title: 'p99 ms', format: decimal(2), range: true },
    { key: 'p999', title: 'p99.9 ms', format: decimal(2), range: true },
    { key: 'redisCpu', title: 'Redis µs/task', format: decimal(1) },
  ],
}
