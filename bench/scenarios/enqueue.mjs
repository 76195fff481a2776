import { startChild } from '../lib/child.mjs'
import { decimal, whole } from '../lib/format.mjs'
import { commandsPerTask, memoryOf, startRedisMeter } from '../lib/redis-stats.mjs'
import { remoteOf, rowsOf } from '../lib/row.mjs'

const QUEUE = 'enqueue'
const WARM_TASKS = 2000

const cases = (quick) => [
  { inFlight: 1, tasks: quick ? 1500 : 5000 },
  { inFlight: 100, tasks: quick ? 15_000 : 50_000 },
]

const measure = async (row, { server: { port, redis } }) => {
  await redis.flushall()
  const remote = remoteOf(row, port)
  const client = startChild('client-process')
  try {
    await client.call('openProducer', { ...remote, queue: 'warm' })
    await client.call('send', { from: 0, to: WARM_TASKS, inFlight: row.inFlight })
    await client.call('closeProducer')
    await client.call('openProducer', { ...remote, queue: QUEUE })
    await client.call('send', { from: 0, to: 1, inFlight: 1 })
    const empty = await memoryOf(redis)
    const stopMeter = await startRedisMeter(redis)
    const { tookMs, cpuMicros } = await client.call('send', { from: 1, to: row.tasks + 1, inFlight: row.inFlight })
    const used = await stopMeter()
    const queued = await memoryOf(redis)
    const lost = row.tasks + 1 - (await row.contender.remaining(redis, QUEUE))
    await client.call('closeProducer')
    return {
      rate: row.tasks / (tookMs / 1000),
      redisCpu: used.cpuMicros / row.tasks,
      clientCpu: cpuMicros / row.tasks,
      commands: commandsPerTask(used.commands, row.tasks),
      queuedBytes: (queued.bytes - empty.bytes) / row.tasks,
      lost,
      void: lost !== 0 ? `${lost} sends of ${row.tasks} are not in the queue` : undefined,
      details: { commands: used.commands, tasks: row.tasks },
    }
  } finally {
    await client.close()
  }
}

/** Sends acknowledged one by one and with many in flight, nobody reading. */
export const scenario = {
  id: 'enqueue',
  title: 'Enqueue: single sends, each awaited, no worker',
  note: 'Each task is a send of its own (no bulk call); every one must be found in the queue afterwards.',
  groups: (contenders, { quick }) =>
    cases(quick).map(({ inFlight, tasks }) => ({
      id: `enqueue-${inFlight}`,
      maxRounds: quick && inFlight === 1 ? 1 : undefined,
      title: `${inFlight === 1 ? 'one by one' : `${inFlight} in flight`}, ${whole(tasks)} tasks of 200 B`,
      rows: rowsOf(contenders, 'enqueue', { inFlight, tasks }),
    })),
  measure,
  headline: { key: 'rate', better: 'higher' },
  columns: [
    { key: 'rate', title: 'sends/s', format: whole, range: true },
    { key: 'redisCpu', title: 'Redis µs/send', format: decimal(1) },
    { key: 'clientCpu', title: 'client µs/send', format: decimal(1) },
    { key: 'commands', title: 'commands/send', format: decimal(2) },
    { key: 'queuedBytes', title: 'B/task queued', format: whole },
    { key: 'lost', title: 'lost', format: whole },
  ],
}
