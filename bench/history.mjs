// What a history costs: `node bench/history.mjs [--tasks 20000] [--rounds 3] [--rows 1000000] [--only latency,drain,pace,read]`,
// after `npm run build`. It starts a Redis and a Postgres of its own.
//
// latency: idle, one task at a time: send → first chunk → done at the reader, without a history and with each, interleaved.
// drain: CPU of the worker per task without a history and with each, interleaved; the answers are stored before the ends.
// pace:  so many messages a second into Postgres while the worker that says them runs.
// read:  the last 20 messages of a session in a table with so many rows, those of a session far from each other.
import { parseArgs } from 'node:util'
import { startChild } from './lib/child.mjs'
import { nowMs, within } from './lib/clock.mjs'
import { contenderById } from './lib/contenders.mjs'
import { startCrew } from './lib/crew.mjs'
import { untilDrained } from './lib/drained.mjs'
import { describeMachine } from './lib/machine.mjs'
import { startNeighbourMeter } from './lib/neighbours.mjs'
import { importSdk } from './lib/sdk.mjs'
import { startServer } from './lib/server.mjs'
import { ascending, percentile } from './lib/stats.mjs'

const { values } = parseArgs({
  options: {
    tasks: { type: 'string', default: '20000' },
    rounds: { type: 'string', default: '3' },
    rows: { type: 'string', default: '1000000' },
    only: { type: 'string', default: 'latency,drain,pace,read' },
  },
})
const [TASKS, ROUNDS, ROWS] = [values.tasks, values.rounds, values.rows].map(Number)
const PARTS = values.only.split(',')
const LIMIT_MS = 300_000
const WARM_TASKS = 5_000
const CONCURRENCY = 100
const PACE_TASKS_PER_S = 3_000
const PACE_SECONDS = 10
const PAGE = 20
const SENDS = 1_500
const WARM_SENDS = 1_500
const READS = 3_000
const WARM_READS = 200
const SESSIONS = 100_000
const TABLE = 'gateway_session_messages'

const { startLocalPostgres } = await importSdk('/testing')
const { PostgresHistory } = await importSdk('/history/postgres')
const { GatewayClient } = await importSdk()
const contender = await contenderById('byclaw')
const server = await startServer()
// Commits wait for the disk here, as they do in life.
const settings = [
  'fsync=on',
  'synchronous_commit=on',
  'full_page_writes=on',
  'shared_buffers=512MB',
  'max_wal_size=4GB',
]
const postgres = await startLocalPostgres({ fresh: true, args: settings.flatMap((value) => ['-c', value]) })
const { default: pg } = await import('pg')
const db = new pg.Client({ connectionString: postgres.url })
await db.connect()

const median = (numbers) => percentile(ascending(numbers), 50)

async function enqueue(queue, tasks) {
  const client = startChild('client-process')
  try {
    await client.call('openProducer', { contender: 'byclaw', port: server.port, queue, variant: {} })
    await client.call('sendMany', { from: 0, to: tasks })
    await client.call('closeProducer')
  } finally {
    await client.close()
  }
}

async function drainOnce(history) {
  await server.redis.flushall()
  const remote = { contender: 'byclaw', port: server.port, variant: { history } }
  const worker = startCrew()
  try {
    let cpu
    let rate
    for (const [queue, tasks] of [
      ['warm', WARM_TASKS],
      ['drain', TASKS],
    ]) {
      await enqueue(queue, tasks)
      const allStarted = worker.allStarted()
      await worker.start({ ...remote, queues: [queue], concurrency: CONCURRENCY, tasks })
      await within(LIMIT_MS, `drain with ${history}`, allStarted)
      await untilDrained(server.redis, contender, queue)
      const report = await worker.report()
      cpu = report.cpuMicros / tasks
      rate = tasks / ((nowMs() - report.firstStartMs) / 1_000)
      await worker.stop()
    }
    return { cpu, rate }
  } finally {
    await worker.close()
  }
}

const kinds = { off: 'off', memory: 'memory', redis: 'redis', postgres: postgres.url }

async function latencyOnce(history) {
  await server.redis.flushall()
  const remote = { contender: 'byclaw', port: server.port, variant: { history } }
  const worker = startCrew()
  const client = startChild('client-process')
  try {
    const tasks = WARM_SENDS + SENDS
    await worker.start({ ...remote, queues: ['idle'], concurrency: CONCURRENCY, chunk: true, tasks })
    await client.call('openAsker', { ...remote, queues: ['idle'] })
    const ask = (from, to) => client.call('ask', { from, to, queues: 1, minGapMs: 1, maxGapMs: 3 })
    await ask(0, WARM_SENDS)
    const { chunks, ends } = await within(LIMIT_MS, `latency with ${history}`, ask(WARM_SENDS, tasks))
    await client.call('closeAsker')
    await worker.stop()
    return { chunk: median(chunks), done: median(ends) }
  } finally {
    await Promise.all([client.close(), worker.close()])
  }
}

async function latency() {
  const samples = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]))
  const order = Object.entries(kinds)
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [kind, history] of order) samples[kind].push(await latencyOnce(history))
    // Who comes first meets processors that have rested.
    order.push(order.shift())
  }
  console.log(`\nlatency, ${SENDS} tasks that say one chunk, one at a time, p50, median of ${ROUNDS} rounds`)
  for (const [kind, all] of Object.entries(samples)) {
    const of = (key) => {
      const ratio = median(all.map((sample, round) => sample[key] / samples.off[round][key]))
      return `${median(all.map((sample) => sample[key])).toFixed(2)} ms, ${ratio.toFixed(2)} × off`
    }
    console.log(`  ${kind.padEnd(9)} first chunk ${of('chunk')}; done ${of('done')}`)
  }
}

async function drain() {
  const samples = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]))
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [kind, history] of Object.entries(kinds)) samples[kind].push(await drainOnce(history))
  }
  console.log(`\ndrain, ${TASKS} trivial tasks, concurrency ${CONCURRENCY}, median of ${ROUNDS} rounds`)
  for (const [kind, all] of Object.entries(samples)) {
    const cpu = median(all.map((sample) => sample.cpu))
    // Within a round, so that a neighbour's noise hits both sides.
    const ratio = median(all.map((sample, round) => sample.cpu / samples.off[round].cpu))
    const rate = median(all.map((sample) => sample.rate))
    const text = `${cpu.toFixed(1)} µs of worker CPU per task, ${ratio.toFixed(2)} × off, ${Math.round(rate)} tasks/s`
    console.log(`  ${kind.padEnd(9)} ${text}`)
  }
}

async function pace() {
  await server.redis.flushall()
  await db.query(`TRUNCATE ${TABLE}`).catch(() => undefined)
  const worker = startCrew()
  const client = new GatewayClient({ redis: `redis://127.0.0.1:${server.port}/0` })
  const tasks = PACE_TASKS_PER_S * PACE_SECONDS
  try {
    const variant = { history: postgres.url }
    const remote = { contender: 'byclaw', port: server.port, variant }
    await worker.start({ ...remote, queues: ['pace'], concurrency: CONCURRENCY, tasks })
    const startedAt = nowMs()
    let sent = 0
    while (sent < tasks) {
      const due = Math.min(tasks, Math.ceil(((nowMs() - startedAt) / 1_000) * PACE_TASKS_PER_S))
      const batch = Array.from({ length: due - sent }, (_, offset) => sent + offset)
      sent = due
      await Promise.all(
        batch.map((index) =>
          client.sendMessage({
            targetAgentType: 'pace',
            sessionId: `p-${index % 500}`,
            content: `${index} ${'x'.repeat(190)}`,
          }),
        ),
      )
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const sentMs = nowMs() - startedAt
    await untilDrained(server.redis, contender, 'pace')
    const tookMs = nowMs() - startedAt
    const report = await worker.report()
    await worker.stop()
    const { rows } = await db.query(`SELECT count(*)::int AS count FROM ${TABLE}`)
    const perSecond = Math.round(rows[0].count / (tookMs / 1_000))
    console.log(
      `\npace, ${PACE_TASKS_PER_S} tasks/s sent for ${(sentMs / 1_000).toFixed(1)} s: ${rows[0].count} messages of ${tasks * 2} in Postgres ` +
        `after ${(tookMs / 1_000).toFixed(1)} s, ${perSecond} messages/s; ${(report.cpuMicros / tasks).toFixed(1)} µs of worker CPU per task`,
    )
  } finally {
    await Promise.all([worker.close(), client.close()])
  }
}

async function fill() {
  await db.query(`DROP TABLE IF EXISTS ${TABLE}`)
  const history = new PostgresHistory({ connectionString: postgres.url })
  await history.open()
  await history.close()
  await db.query(`DROP INDEX ${TABLE}_order_idx, ${TABLE}_once_idx`)
  const begin = nowMs()
  await db.query(
    `INSERT INTO ${TABLE} (session_id, role, content, metadata, created_at, message_id, fencing_token)
    SELECT 's-' || (n / 2) % ${SESSIONS}, CASE n % 2 WHEN 0 THEN 'user' ELSE 'assistant' END, repeat(md5(n::text), 6),
      '{"agentType": "agent", "attempt": 1}', timestamptz '2026-01-01' + n * interval '1 second', 'msg-' || md5((n / 2)::text), 1
    FROM generate_series(0, ${ROWS} - 1) AS n`,
  )
  const again = new PostgresHistory({ connectionString: postgres.url })
  await again.open() // makes the indexes
  await again.close()
  await db.query(`VACUUM ANALYZE ${TABLE}`)
  const { rows } = await db.query(`SELECT pg_size_pretty(pg_total_relation_size('${TABLE}')) AS size`)
  console.log(
    `\nread, ${ROWS} rows in ${SESSIONS} sessions, ${rows[0].size}, made in ${((nowMs() - begin) / 1_000).toFixed(0)} s`,
  )
}

/** Milliseconds of reads of random sessions, one after the other, in ascending order. */
async function readSome(history, isEarlier) {
  const samples = []
  for (let turn = 0; turn < READS + WARM_READS; turn += 1) {
    const session = `s-${Math.floor(Math.random() * Math.min(SESSIONS, ROWS / 2))}`
    const before = isEarlier ? (await history.list(session, { limit: PAGE }))[0]?.id : undefined
    const startedAt = performance.now()
    await history.list(session, before === undefined ? { limit: PAGE } : { limit: PAGE, before })
    if (turn >= WARM_READS) samples.push(performance.now() - startedAt)
  }
  return ascending(samples)
}

async function read() {
  await fill()
  const history = new PostgresHistory({ connectionString: postgres.url })
  for (const [what, isEarlier] of [
    [`the last ${PAGE}`, false],
    [`the ${PAGE} before them`, true],
  ]) {
    for (let round = 0; round < ROUNDS; round += 1) {
      const stopMeter = await startNeighbourMeter([server])
      const sorted = await readSome(history, isEarlier)
      const [p50, p99] = [50, 99].map((share) => percentile(sorted, share).toFixed(2))
      const others = `${Math.round((await stopMeter()) * 100)} %`
      console.log(`  ${what}: p50 ${p50} ms, p99 ${p99} ms over ${READS} reads, others ${others}`)
    }
  }
  await history.close()
}

try {
  console.log(await describeMachine(server))
  if (PARTS.includes('latency')) await latency()
  if (PARTS.includes('drain')) await drain()
  if (PARTS.includes('pace')) await pace()
  if (PARTS.includes('read')) await read()
} finally {
  await db.end()
  await postgres.stop()
  await server.stop()
}
