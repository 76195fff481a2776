import { startChild } from '../lib/child.mjs'
import { within } from '../lib/clock.mjs'
import { startCrew } from '../lib/crew.mjs'
import { decimal, whole } from '../lib/format.mjs'
import { commandsPerTask } from '../lib/redis-stats.mjs'
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

const percentiles = (chunks, ends) => ({
  p50: percentile(chunks, 50),
  p99: percentile(chunks, 99),
  p999: percentile(chunks, 99.9),
  doneP50: percentile(ends, 50),
  doneP99: percentile(ends, 99),
})

const measure = async (row, { server }) => {
  await server.empty()
  const remote = remoteOf(row, server.port)
  const queues = Array.from({ length: row.capabilities }, (_, number) => `latency-${number}`)
  const worker = startCrew()
  const client = startChild('client-process')
  try {
    const total = row.warmSends + row.sends
    await worker.start({ ...remote, queues, concurrency: CONCURRENCY, chunk: true, tasks: total })
    await client.call('openAsker', { ...remote, queues })
    const ask = (from, to) =>
      within(LIMIT_MS, `latency of ${row.id}`, client.call('ask', { from, to, queues: queues.length, ...gaps }))
    await ask(0, row.warmSends)
    const cpuBefore = (await worker.report()).cpuMicros
    const stopMeter = await server.startMeter()
    const { chunks, ends } = await ask(row.warmSends, total)
    const used = await stopMeter()
    const connections = await server.connections()
    const report = await worker.report()
    await client.call('closeAsker')
    await worker.stop()
    return {
      ...percentiles(ascending(chunks), ascending(ends)),
      redisCpu: used.cpuMicros / row.sends,
      workerCpu: (report.cpuMicros - cpuBefore) / row.sends,
      commands: commandsPerTask(used.commands, row.sends),
      connections,
      lost: report.neverStarted,
      repeated: report.startedTwice,
      void:
        report.startedTwice + report.neverStarted > 0
          ? `${report.startedTwice} tasks ran twice, ${report.neverStarted} never`
          : undefined,
      details: { commands: used.commands, tasks: row.sends },
    }
  } finally {
    await Promise.all([client.close(), worker.close()])
  }
}

/** Idle system: from the send to the first chunk in the reader's hands, and to its end. */
export const scenario = {
  id: 'latency',
  title: 'Idle latency: send → first chunk → done at the reader',
  note:
    'One send at a time with gaps of 1–3 ms after each end, after 2,000 that are not counted (200 in a quick run); sender and reader are one process, the worker another. The chunk of BullMQ is ' +
    '`updateProgress` heard through QueueEvents. With 20 capabilities the sends go round them; BullMQ then runs 20 workers in its process. ' +
    'The connections are those of both processes.',
  groups: (contenders, { quick }) =>
    (quick ? [1] : [1, 20]).map((capabilities) => ({
      id: `latency-${capabilities}`,
      title: `${capabilities} ${capabilities === 1 ? 'capability' : 'capabilities'} on the worker, ${whole(quick ? QUICK_SENDS : SENDS)} sends`,
      rows: rowsOf(
        contenders,
        'latency',
        {
          capabilities,
          sends: quick ? QUICK_SENDS : SENDS,
          warmSends: quick ? QUICK_WARM_SENDS : WARM_SENDS,
        },
        { quick },
      ),
    })),
  measure,
  headline: { key: 'p50', better: 'lower' },
  columns: [
    { key: 'p50', title: 'p50 ms', format: decimal(2), range: true },
    { key: 'p99', title: 'p99 ms', format: decimal(2), range: true },
    { key: 'p999', title: 'p99.9 ms', format: decimal(2), range: true },
    { key: 'doneP50', title: 'done p50 ms', format: decimal(2) },
    { key: 'doneP99', title: 'done p99 ms', format: decimal(2) },
    { key: 'redisCpu', title: 'Redis µs/task', format: decimal(1) },
    { key: 'workerCpu', title: 'worker µs/task', format: decimal(1) },
    { key: 'commands', title: 'commands/task', format: decimal(2) },
    { key: 'connections', title: 'connections', format: whole },
    { key: 'lost', title: 'lost', format: whole },
    { key: 'repeated', title: 'repeated', format: whole },
  ],
}
