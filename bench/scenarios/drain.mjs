import { startChild } from '../lib/child.mjs'
import { nowMs, within } from '../lib/clock.mjs'
import { startCrew } from '../lib/crew.mjs'
import { settledEnds, untilDrained } from '../lib/drained.mjs'
import { decimal, percent, whole } from '../lib/format.mjs'
import { PAYLOAD_BYTES } from '../lib/payload.mjs'
import { commandsPerTask, startScriptLog } from '../lib/redis-stats.mjs'
import { remoteOf, rowsOf } from '../lib/row.mjs'

const QUEUE = 'drain'
const WARM_QUEUE = 'warm'
const WARM_TASKS = 10_000
const LIMIT_MS = 120_000
const LARGE_BYTES = 4096
/** Where nobody can tell that all tasks have started, Redis is looked at only this often. */
const LOOK_EVERY_MS = 10

const cases = (quick) =>
  quick
    ? [
        { concurrency: 100, tasks: 10_000, warmTasks: 3_000 },
        { concurrency: 1, tasks: 2_000, warmTasks: 1_000 },
      ]
    : [
        { concurrency: 100, tasks: 50_000 },
        { concurrency: 10, tasks: 20_000 },
        { concurrency: 1, tasks: 4000 },
        { concurrency: 100, tasks: 20_000, payload: LARGE_BYTES, suffix: '-4k' },
        {
          concurrency: 100,
          tasks: 50_000,
          server: 'redis-aof',
          suffix: '-aof',
          where: ', append-only file synced every second',
        },
        // A worker that has run for a while: V8 goes on compiling for some hundred thousand tasks.
        { concurrency: 100, tasks: 500_000, suffix: '-long', where: ', in a row' },
      ]

const enqueue = async (client, row, { remote, queue, tasks }) => {
  await client.call('openProducer', { ...remote, queue })
  await client.call('sendMany', { from: 0, to: tasks, payload: row.payload })
  await client.call('closeProducer')
}

const crewOf = ({ concurrency, workers }, remote, queue, tasks) => ({
  ...remote,
  queues: [queue],
  ...{ concurrency, workers, tasks },
})

/** The same processes drain a small queue first, so that compiled code is measured. */
const warmUp = async (server, row, remote, { client, worker }) => {
  const tasks = row.warmTasks ?? WARM_TASKS
  await enqueue(client, row, { remote, queue: WARM_QUEUE, tasks })
  await worker.start(crewOf(row, remote, WARM_QUEUE, tasks))
  await untilDrained(server.client, row.contender, WARM_QUEUE, { pauseMs: 5 })
  await worker.stop()
}

const drain = async (server, row, remote, worker) => {
  const allStarted = worker.allStarted()
  const begin = nowMs()
  await worker.start(crewOf(row, remote, QUEUE, row.tasks))
  const startMs = nowMs() - begin
  // Redis is left alone until the last task has started: a look at it would be paid by the contender.
  await within(LIMIT_MS, `drain by ${row.id}`, allStarted)
  await untilDrained(server.client, row.contender, QUEUE, { pauseMs: row.processes > 1 ? LOOK_EVERY_MS : 0 })
  return { endMs: nowMs(), startMs }
}

const outcomeOf = (
  { tasks },
  { report, lost, repeated, fault },
  { endMs, used, scripts, emptyBytes, queued, after },
) => ({
  rate: tasks / ((endMs - report.firstStartMs) / 1000),
  redisCpu: used.cpuMicros / tasks,
  commands: commandsPerTask(used.commands, tasks),
  workerCpu: report.cpuMicros / tasks,
  loopBusy: report.loopBusy,
  queuedBytes: (queued.bytes - emptyBytes) / tasks,
  afterBytes: (after.bytes - emptyBytes) / tasks,
  lost,
  repeated,
  void: fault,
  details: { commands: used.commands, scripts, tasks },
})

/**
 * Drains a row: `tasks` by `processes` (1) of `workers` (1) each with `concurrency`. `probe` is `cpu` or `scripts` in the extra
 * runs of `--profile`, which disturb what they look at and are not counted.
 */
export const measureDrain = async (row, { server, port = server.port, probe }) => {
  await server.empty()
  const direct = remoteOf(row, server.port)
  const remote = remoteOf(row, port)
  const worker = startCrew(row.processes)
  const client = startChild('client-process')
  try {
    if (row.warmTasks !== 0) await warmUp(server, row, remote, { client, worker })
    await server.empty()
    await enqueue(client, row, { remote: direct, queue: QUEUE, tasks: row.tasks })
    await client.close()
    const queued = await server.memory()
    if (probe === 'cpu') await worker.startProfile()
    const stopScriptLog = probe === 'scripts' ? await startScriptLog(server.redis) : undefined
    const stopMeter = await server.startMeter()
    const { endMs, startMs } = await drain(server, row, remote, worker)
    const used = await stopMeter()
    if (probe === 'cpu') await worker.stopProfile({ name: `drain-${row.concurrency}-${row.id.replace('/', '-')}` })
    const scripts = await stopScriptLog?.()
    const after = await server.memory()
    const connections = await server.connections()
    const ends = await settledEnds(server.client, row, worker, { queue: QUEUE, tasks: row.tasks })
    await worker.stop()
    const { emptyBytes } = server
    return { ...outcomeOf(row, ends, { endMs, used, scripts, emptyBytes, queued, after }), connections, startMs }
  } finally {
    await Promise.all([client.close(), worker.close()])
  }
}

export const drainColumns = [
  { key: 'rate', title: 'tasks/s', format: whole, range: true },
  { key: 'redisCpu', title: 'Redis µs/task', format: decimal(1) },
  { key: 'workerCpu', title: 'worker µs/task', format: decimal(1) },
  { key: 'loopBusy', title: 'loop busy', format: percent },
  { key: 'commands', title: 'commands/task', format: decimal(2) },
  { key: 'queuedBytes', title: 'B/task queued', format: whole },
  { key: 'afterBytes', title: 'B/task after', format: whole },
  { key: 'connections', title: 'connections', format: whole },
  { key: 'lost', title: 'lost', format: whole },
  { key: 'repeated', title: 'repeated', format: whole },
]

/** Trivial tasks enqueued first, then drained by one worker process. */
export const scenario = {
  id: 'drain',
  title: 'Drain: trivial tasks enqueued first, then taken by one worker process',
  note: 'From the first handler’s start until nothing waits or runs. Lost and repeated ends must be 0, else the row is void.',
  groups: (contenders, { quick }) =>
    cases(quick).map(({ suffix = '', where = '', payload = PAYLOAD_BYTES, ...parameters }) => ({
      id: `drain-${parameters.concurrency}${suffix}`,
      title: `concurrency ${parameters.concurrency}, ${whole(parameters.tasks)} tasks of ${whole(payload)} B${where}`,
      rows: rowsOf(
        parameters.server === undefined ? contenders : contenders.filter(({ server }) => server === undefined),
        'drain',
        { ...parameters, payload },
        { quick },
      ),
    })),
  measure: measureDrain,
  probes: ['cpu', 'scripts'],
  headline: { key: 'rate', better: 'higher' },
  columns: drainColumns,
}
