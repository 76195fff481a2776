import { startChild } from '../lib/child.mjs'
import { nowMs } from '../lib/clock.mjs'
import { startCrew } from '../lib/crew.mjs'
import { settledEnds, untilDrained } from '../lib/drained.mjs'
import { decimal, whole } from '../lib/format.mjs'
import { commandsPerTask } from '../lib/redis-stats.mjs'
import { remoteOf, rowsOf } from '../lib/row.mjs'

const QUEUE = 'backlog'
const WARM_QUEUE = 'warm'
const WARM_TASKS = 10_000
const CONCURRENCY = 100
const IN_FLIGHT = 100
const TENTHS = 10
const LOOK_EVERY_MS = 10

/** One tenth after the other: sends per second and Redis CPU per send of each. */
const fill = async (server, client, tasks) => {
  const slices = []
  const size = tasks / TENTHS
  for (let tenth = 0; tenth < TENTHS; tenth++) {
    const cpu = await server.cpuMicros()
    const { tookMs } = await client.call('send', { from: tenth * size, to: (tenth + 1) * size, inFlight: IN_FLIGHT })
    slices.push({ rate: (size / tookMs) * 1_000, redisCpu: ((await server.cpuMicros()) - cpu) / size })
  }
  return slices
}

/** Marks of time and CPU whenever another tenth is gone, as `onLook` of {@link untilDrained}. */
const newMarks = (server, tasks) => {
  const marks = []
  return {
    onLook: async (left) => {
      if (left <= tasks - marks.length * (tasks / TENTHS))
        marks.push({ left, atMs: nowMs(), cpu: await server.cpuMicros() })
    },
    slices: () =>
      marks.slice(1).map((mark, at) => {
        const [before, done] = [marks[at], marks[at].left - mark.left]
        return { rate: (done / (mark.atMs - before.atMs)) * 1_000, redisCpu: (mark.cpu - before.cpu) / done }
      }),
  }
}

const warmUp = async (server, row, remote, { worker, client }) => {
  await client.call('openProducer', { ...remote, queue: WARM_QUEUE })
  await client.call('send', { from: 0, to: WARM_TASKS, inFlight: IN_FLIGHT })
  await client.call('closeProducer')
  await worker.start({ ...remote, queues: [WARM_QUEUE], concurrency: CONCURRENCY, tasks: WARM_TASKS })
  await untilDrained(server.client, row.contender, WARM_QUEUE, { pauseMs: LOOK_EVERY_MS })
  await worker.stop()
  await server.empty()
}

/** First and last of the tenths; that a tenth costs no more than another is what the scenario asks for. */
const ends = (slices, name) => ({
  [`${name}First`]: slices[0].rate,
  [`${name}Last`]: slices.at(-1).rate,
  [`${name}CpuFirst`]: slices[0].redisCpu,
  [`${name}CpuLast`]: slices.at(-1).redisCpu,
})

const measure = async (row, { server }) => {
  await server.empty()
  const remote = remoteOf(row, server.port)
  const worker = startCrew()
  const client = startChild('client-process')
  const { tasks } = row
  try {
    await warmUp(server, row, remote, { worker, client })
    await client.call('openProducer', { ...remote, queue: QUEUE })
    const filled = await fill(server, client, tasks)
    await client.call('closeProducer')
    const queued = await server.memory()
    const marks = newMarks(server, tasks)
    const stopMeter = await server.startMeter()
    await worker.start({ ...remote, queues: [QUEUE], concurrency: CONCURRENCY, tasks })
    await untilDrained(server.client, row.contender, QUEUE, { pauseMs: LOOK_EVERY_MS, onLook: marks.onLook })
    const used = await stopMeter()
    const connections = await server.connections()
    const { report, lost, repeated, fault } = await settledEnds(server.client, row, worker, { queue: QUEUE, tasks })
    await worker.stop()
    const drained = marks.slices()
    return {
      ...ends(filled, 'send'),
      ...ends(drained, 'drain'),
      workerCpu: report.cpuMicros / tasks,
      commands: commandsPerTask(used.commands, tasks),
      queuedBytes: (queued.bytes - server.emptyBytes) / tasks,
      ...{ connections, lost, repeated },
      void: fault,
      details: { filled, drained },
    }
  } finally {
    await Promise.all([client.close(), worker.close()])
  }
}

/** A long backlog: a task must not cost more because many wait. */
export const scenario = {
  id: 'backlog',
  title: 'Backlog: a queue filled to the brim, then drained',
  note:
    `Sent with ${IN_FLIGHT} in flight, then taken at concurrency ${CONCURRENCY}. Each pair is the first and the last tenth: of the sends, when the queue is empty and when it is ` +
    'full, and of the drain, when it is full and when it is nearly empty. Runs only when it is named, and needs some GB of memory.',
  onlyWhenNamed: true,
  groups: (contenders, { quick }) => {
    const tasks = quick ? 100_000 : 1_000_000
    const rows = rowsOf(contenders, 'backlog', { tasks }, { quick })
    return [{ id: 'backlog', maxRounds: 1, title: `${whole(tasks)} tasks of 200 B`, rows }]
  },
  measure,
  columns: [
    { key: 'sendFirst', title: 'sends/s first', format: whole },
    { key: 'sendLast', title: 'last', format: whole },
    { key: 'sendCpuFirst', title: 'Redis µs/send first', format: decimal(1) },
    { key: 'sendCpuLast', title: 'last', format: decimal(1) },
    { key: 'drainFirst', title: 'tasks/s first', format: whole },
    { key: 'drainLast', title: 'last', format: whole },
    { key: 'drainCpuFirst', title: 'Redis µs/task first', format: decimal(1) },
    { key: 'drainCpuLast', title: 'last', format: decimal(1) },
    { key: 'workerCpu', title: 'worker µs/task', format: decimal(1) },
    { key: 'commands', title: 'commands/task', format: decimal(2) },
    { key: 'queuedBytes', title: 'B/task queued', format: whole },
    { key: 'connections', title: 'connections', format: whole },
    { key: 'lost', title: 'lost', format: whole },
    { key: 'repeated', title: 'repeated', format: whole },
  ],
}
