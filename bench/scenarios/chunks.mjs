import { startChild } from '../lib/child.mjs'
import { within } from '../lib/clock.mjs'
import { BASELINE } from '../lib/contenders.mjs'
import { startCrew } from '../lib/crew.mjs'
import { decimal, whole } from '../lib/format.mjs'
import { commandsPerTask } from '../lib/redis-stats.mjs'
import { remoteOf, rowsOf } from '../lib/row.mjs'

const QUEUE = 'chunks'
const WARM_QUEUE = 'warm'
const LIMIT_MS = 150_000

const cases = (quick) => [
  { id: 'chunks-sessions', sessions: quick ? 200 : 1_000, count: quick ? 100 : 200, window: 1, warmCount: 20 },
  { id: 'chunks-long', sessions: 1, count: quick ? 20_000 : 100_000, window: 256, warmCount: 5_000 },
]

const titleOf = ({ sessions, count, window }) =>
  sessions === 1
    ? `one task with ${whole(count)} chunks, up to ${window} of them without an answer`
    : `${whole(sessions)} tasks of a session each, ${count} chunks of every one, each awaited, to ${whole(sessions)} readers`

/** Readers first, then the tasks, then the worker; resolves when every reader has heard its task's end. */
const stream = async (row, { worker, client, remote, queue, count, around = (work) => work() }) => {
  const { sessions, window } = row
  await client.call('openReaders', { ...remote, queue, sessions, count })
  await client.call('sendTasks')
  const crew = { ...remote, queues: [queue], concurrency: sessions, tasks: sessions, speech: { count, window } }
  const result = await around(async () => {
    await worker.start(crew)
    await within(LIMIT_MS, `chunks of ${row.id}`, client.call('heardAll'))
  })
  return { result, heard: await client.call('closeReaders') }
}

const measure = async (row, { server }) => {
  await server.empty()
  const remote = remoteOf(row, server.port)
  const worker = startCrew()
  const client = startChild('client-process')
  const sides = { worker, client, remote }
  const chunks = row.sessions * row.count
  try {
    await stream(row, { ...sides, queue: WARM_QUEUE, count: row.warmCount })
    await worker.stop()
    await server.empty()
    const around = async (work) => {
      const stopMeter = await server.startMeter()
      await work()
      const [used, report, after] = [await stopMeter(), await worker.report(), await server.memory()]
      return { used, report, after, connections: await server.connections() }
    }
    const { result, heard } = await stream(row, { ...sides, queue: QUEUE, count: row.count, around })
    await worker.stop()
    const { used, report, after, connections } = result
    const { rates, cpuMicros, ...figures } = heard
    const repeated = heard.repeated + report.startedTwice
    return {
      ...figures,
      flatness: heard.lastRate / heard.firstRate,
      redisCpu: used.cpuMicros / chunks,
      workerCpu: report.cpuMicros / chunks,
      readerCpu: cpuMicros / chunks,
      commands: commandsPerTask(used.commands, chunks),
      bytes: (after.bytes - server.emptyBytes) / chunks,
      connections,
      repeated,
      void: heard.lost + repeated > 0 ? `lost ${heard.lost}, repeated ${repeated}` : undefined,
      details: { commands: used.commands, tasks: chunks, rates },
    }
  } finally {
    await Promise.all([client.close(), worker.close()])
  }
}

/** Answers that come in pieces, to many readers and in one long answer. */
export const scenario = {
  id: 'chunks',
  title: 'Chunks: answers in pieces, from the handlers to their readers',
  note:
    'The readers listen and the tasks wait before the worker starts; all readers are one process with one subscription per session, the worker is another. ' +
    'Times are from the handler’s call to the reader’s hands. `last ÷ first` is the rate of the last tenth of the chunks beside that of the first. ' +
    'Every chunk must come once, in order, and then one end, else the row is void. BullMQ: `updateProgress`, heard by one QueueEvents on an event stream ' +
    'that is long enough for all. The bare loop adds to a stream per session, and reads all of them by one XREAD every few ms. ' +
    'One row joins what is said within 2 ms to one event (`coalesceMs`); a token is counted as a chunk there, and its commands and bytes are shared.',
  groups: (contenders, { quick }) =>
    cases(quick).map(({ id, ...parameters }) => ({
      id,
      title: titleOf(parameters),
      rows: rowsOf(quick ? contenders.filter(({ id }) => id !== BASELINE) : contenders, 'chunks', parameters, {
        quick,
      }),
    })),
  measure,
  headline: { key: 'rate', better: 'higher' },
  columns: [
    { key: 'rate', title: 'chunks/s', format: whole, range: true },
    { key: 'firstRate', title: 'first tenth /s', format: whole },
    { key: 'lastRate', title: 'last tenth /s', format: whole },
    { key: 'flatness', title: 'last ÷ first', format: decimal(2) },
    { key: 'p50', title: 'p50 ms', format: decimal(2) },
    { key: 'p99', title: 'p99 ms', format: decimal(2) },
    { key: 'p999', title: 'p99.9 ms', format: decimal(2) },
    { key: 'redisCpu', title: 'Redis µs/chunk', format: decimal(2) },
    { key: 'workerCpu', title: 'worker µs/chunk', format: decimal(1) },
    { key: 'readerCpu', title: 'reader µs/chunk', format: decimal(1) },
    { key: 'commands', title: 'commands/chunk', format: decimal(2) },
    { key: 'bytes', title: 'B/chunk', format: whole },
    { key: 'connections', title: 'connections', format: whole },
    { key: 'lost', title: 'lost', format: whole },
    { key: 'repeated', title: 'repeated', format: whole },
  ],
}
