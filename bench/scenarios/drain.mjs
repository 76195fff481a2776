import { startChild } from '../lib/child.mjs'
import { nowMs, within } from '../lib/clock.mjs'
import { settledEnds, untilDrained } from '../lib/drained.mjs'
import { decimal, percent, whole } from '../lib/format.mjs'
import { commandsPerTask, memoryOf, startRedisMeter, startScriptLog } from '../lib/redis-stats.mjs'
import { remoteOf, rowsOf } from '../lib/row.mjs'

const QUEUE = 'drain'
const WARM_QUEUE = 'warm'
const WARM_TASKS = 10_000
const LIMIT_MS = 120_000

const cases = (quick) =>
  quick
    ? [{ concurrency: 100, tasks: 10_000 }]
    : [
        { concurrency: 100, tasks: 50_000 },
        { concurrency: 10, tasks: 20_000 },
        { concurrency: 1, tasks: 4000 },
      ]

const enqueue = async (remote, queue, tasks) => {
  const client = startChild('client-process')
  try {
    await client.call('openProducer', { ...remote, queue })
    await client.call('sendMany', { from: 0, to: tasks })
    await client.call('closeProducer')
  } finally {
    await client.close()
  }
}

/** The same process drains a small queue first, so that compiled code is measured. */
const warmUp = async (redis, row, remote, worker) => {
  await enqueue(remote, WARM_QUEUE, WARM_TASKS)
  await worker.call('start', { ...remote, queues: [WARM_QUEUE], concurrency: row.concurrency, tasks: WARM_TASKS })
  await untilDrained(redis, row.contender, WARM_QUEUE, { pauseMs: 5 })
  await worker.call('stop')
}

const drain = async (redis, row, remote, worker) => {
  const allStarted = worker.event('all-started')
  await worker.call('start', { ...remote, queues: [QUEUE], concurrency: row.concurrency, tasks: row.tasks })
  // Redis is left alone until the last task has started: a look at it would be paid by the contender.
  await within(LIMIT_MS, `drain by ${row.id}`, allStarted)
  await untilDrained(redis, row.contender, QUEUE)
  return nowMs()
}

/** `probe` is `cpu` or `scripts` in the extra runs of `--profile`, which disturb what they look at and are not counted. */
const measure = async (row, { server: { port, redis }, probe }) => {
  await redis.flushall()
  const remote = remoteOf(row, port)
  const worker = startChild('worker-process')
  try {
    await warmUp(redis, row, remote, worker)
    await redis.flushall()
    const empty = await memoryOf(redis)
    await enqueue(remote, QUEUE, row.tasks)
    const queued = await memoryOf(redis)
    if (probe === 'cpu') await worker.call('startProfile')
    const stopScriptLog = probe === 'scripts' ? await startScriptLog(redis) : undefined
    const stopMeter = await startRedisMeter(redis)
    const endMs = await drain(redis, row, remote, worker)
    const used = await stopMeter()
    if (probe === 'cpu') {
      await worker.call('stopProfile', { name: `drain-${row.concurrency}-${row.id.replace('/', '-')}` })
    }
    const scripts = await stopScriptLog?.()
    const after = await memoryOf(redis)
    const { report, lost, repeated } = await settledEnds(redis, row, worker, { queue: QUEUE, tasks: row.tasks })
    await worker.call('stop')
    const { tasks } = row
    return {
      rate: tasks / ((endMs - report.firstStartMs) / 1000),
      redisCpu: used.cpuMicros / tasks,
      commands: commandsPerTask(used.commands, tasks),
      workerCpu: report.cpuMicros / tasks,
      loopBusy: report.loopBusy,
      queuedBytes: (queued.bytes - empty.bytes) / tasks,
      afterBytes: (after.bytes - empty.bytes) / tasks,
      lost,
      repeated,
      void: lost + repeated > 0 ? `lost ${lost}, repeated ${repeated}` : undefined,
      details: { commands: used.commands, scripts, tasks },
    }
  } finally {
    await worker.close()
  }
}

/** Trivial tasks enqueued first, then drained by one worker process. */
export const scenario = {
  id: 'drain',
  title: 'Drain: trivial tasks enqueued first, then taken by one worker process',
  note: 'From the first handler’s start until nothing waits or runs. Lost and repeated ends must be 0, else the row is void.',
  groups: (contenders, { quick }) =>
    cases(quick).map(({ concurrency, tasks }) => ({
      id: `drain-${concurrency}`,
      title: `concurrency ${concurrency}, ${whole(tasks)} tasks of 200 B`,
      rows: rowsOf(contenders, 'drain', { concurrency, tasks }, { quick }),
    })),
  measure,
  probes: ['cpu', 'scripts'],
  headline: { key: 'rate', better: 'higher' },
  columns: [
    { key: 'rate', title: 'tasks/s', format: whole, range: true },
    { key: 'redisCpu', title: 'Redis µs/task', format: decimal(1) },
    { key: 'workerCpu', title: 'worker µs/task', format: decimal(1) },
    { key: 'loopBusy', title: 'loop busy', format: percent },
    { key: 'commands', title: 'commands/task', format: decimal(2) },
    { key: 'queuedBytes', title: 'B/task queued', format: whole },
    { key: 'afterBytes', title: 'B/task after', format: whole },
    { key: 'lost', title: 'lost', format: whole },
    { key: 'repeated', title: 'repeated', format: whole },
  ],
}
