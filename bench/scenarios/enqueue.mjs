import { startChild } from '../lib/child.mjs'
import { decimal, whole } from '../lib/format.mjs'
import { PAYLOAD_BYTES } from '../lib/payload.mjs'
import { commandsPerTask } from '../lib/redis-stats.mjs'
import { remoteOf, rowsOf } from '../lib/row.mjs'

const QUEUE = 'enqueue'
const WARM_TASKS = 2000
const LARGE_BYTES = 4096

const cases = (quick) =>
  quick
    ? [{ inFlight: 100, tasks: 15_000 }]
    : [
        { inFlight: 1, tasks: 5000 },
        { inFlight: 100, tasks: 50_000 },
        { inFlight: 1, tasks: 5000, payload: LARGE_BYTES, suffix: '-4k' },
        { inFlight: 100, tasks: 20_000, payload: LARGE_BYTES, suffix: '-4k' },
      ]

/** Sends the tasks of a row, by way of another port where it has to be. */
export const measureEnqueue = async (row, { server, port = server.port }) => {
  await server.empty()
  const remote = remoteOf(row, port)
  const { inFlight, payload, tasks } = row
  const client = startChild('client-process')
  try {
    await client.call('openProducer', { ...remote, queue: 'warm' })
    await client.call('send', { from: 0, to: WARM_TASKS, inFlight, payload })
    await client.call('closeProducer')
    await client.call('openProducer', { ...remote, queue: QUEUE })
    await client.call('send', { from: 0, to: 1, inFlight: 1, payload })
    const empty = await server.memory()
    const stopMeter = await server.startMeter()
    const { tookMs, cpuMicros, ...latencies } = await client.call('send', { from: 1, to: tasks + 1, inFlight, payload })
    const used = await stopMeter()
    const connections = await server.connections()
    const queued = await server.memory()
    const lost = tasks + 1 - (await row.contender.remaining(server.client, QUEUE))
    await client.call('closeProducer')
    return {
      rate: tasks / (tookMs / 1000),
      ...latencies,
      redisCpu: used.cpuMicros / tasks,
      clientCpu: cpuMicros / tasks,
      commands: commandsPerTask(used.commands, tasks),
      queuedBytes: (queued.bytes - empty.bytes) / tasks,
      connections,
      lost: Math.max(0, lost),
      repeated: Math.max(0, -lost),
      void: lost !== 0 ? `${lost} sends of ${tasks} are not in the queue` : undefined,
      details: { commands: used.commands, tasks },
    }
  } finally {
    await client.close()
  }
}

/** Sends acknowledged one by one and with many in flight, nobody reading. */
export const scenario = {
  id: 'enqueue',
  title: 'Enqueue: single sends, each awaited, no worker',
  note: 'Each task is a send of its own (no bulk call); every one must be found in the queue afterwards. The times are those from a send to its answer.',
  groups: (contenders, { quick }) =>
    cases(quick).map(({ suffix = '', payload = PAYLOAD_BYTES, ...parameters }) => ({
      id: `enqueue-${parameters.inFlight}${suffix}`,
      title: `${parameters.inFlight === 1 ? 'one by one' : `${parameters.inFlight} in flight`}, ${whole(parameters.tasks)} tasks of ${whole(payload)} B`,
      rows: rowsOf(contenders, 'enqueue', { ...parameters, payload }, { quick }),
    })),
  measure: measureEnqueue,
  headline: { key: 'rate', better: 'higher' },
  columns: [
    { key: 'rate', title: 'sends/s', format: whole, range: true },
    { key: 'p50', title: 'p50 ms', format: decimal(2) },
    { key: 'p99', title: 'p99 ms', format: decimal(2) },
    { key: 'p999', title: 'p99.9 ms', format: decimal(2) },
    { key: 'redisCpu', title: 'Redis µs/send', format: decimal(1) },
    { key: 'clientCpu', title: 'client µs/send', format: decimal(1) },
    { key: 'commands', title: 'commands/send', format: decimal(2) },
    { key: 'queuedBytes', title: 'B/task queued', format: whole },
    { key: 'connections', title: 'connections', format: whole },
    { key: 'lost', title: 'lost', format: whole },
    { key: 'repeated', title: 'repeated', format: whole },
  ],
}
