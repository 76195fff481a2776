// How late tasks come to their control stream that are all due at the same moment: `node bench/due.mjs [tasks] [rounds]`,
// after `npm run build`. It starts a Redis of its own. Three rows per round:
//
// - floor: one sorted set of envelopes, ZRANGEBYSCORE, pipelined XADD and ZREM; no promise at all beside it.
// - promotion: a worker in a process of its own keeps the agenda and nobody takes the tasks.
// - with takers: the same while a second worker process takes and runs the tasks as they come.
//
// Late is the time of the entry on the control stream less the time it was due, both by the clock of Redis.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism, loadavg } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import { GatewayClient, GatewayWorker, runWorker } from '../dist/index.js'
import { startLocalRedis } from '../dist/testing/index.js'
import { ascending, percentile } from './lib/stats.mjs'

const SESSIONS = 1_000
const PIPELINE = 1_000
/** Time between the last send and the moment that all are due. */
const QUIET_MS = 3_000
const SHARDS = [0, 1, 2, 3].map((shard) => `queue:delayed:${shard}`)

/** The worker's process: keeps the agenda, and runs `agentType`. */
async function work(redis, agentType) {
  class Agent extends GatewayWorker {
    getCapabilities() {
      return [agentType]
    }
    processCommand() {
      return null
    }
  }
  const logger = pino({ level: 'warn' })
  const worker = await runWorker({ workerClass: Agent, redis, maxConcurrency: 100, logger })
  let used = process.cpuUsage()
  process.on('message', async (message) => {
    if (message === 'mark') used = process.cpuUsage()
    if (message === 'report') {
      const { user, system } = process.cpuUsage(used)
      process.send({ cpuMs: (user + system) / 1_000 })
    }
    if (message === 'stop') {
      await worker.stop()
      process.disconnect()
    }
  })
  process.send('ready')
}

async function start(url, agentType) {
  const child = fork(new URL(import.meta.url), ['worker', url, agentType])
  await once(child, 'message')
  return child
}

async function stop(child) {
  child.send('stop')
  await once(child, 'exit')
}

async function main(tasks, rounds) {
  const server = await startLocalRedis({ fresh: true })
  const redis = new Redis(server.url)
  try {
    for (let round = 1; round <= rounds; round += 1) {
      await row('floor', tasks, redis, () => floor(tasks, redis))
      await row('promotion', tasks, redis, () => promotion(tasks, redis, server.url, false))
      await row('with takers', tasks, redis, () => promotion(tasks, redis, server.url, true))
    }
  } finally {
    redis.disconnect()
    await server.stop()
  }
}

async function row(name, tasks, redis, run) {
  await redis.flushall()
  const { late, cpu } = await run()
  const sorted = ascending(late)
  const at = (p) => percentile(sorted, p).toFixed(0).padStart(4)
  const what = `${name.padEnd(12)} ${tasks} tasks: late p50 ${at(50)}, p99 ${at(99)}, most ${at(100)} ms`
  const load = `load ${loadavg()[0].toFixed(1)} on ${availableParallelism()} cores`
  console.log(`${what}; none early: ${sorted[0] >= 0}; ${cpu}; ${load}`)
}

/** Ms of CPU that the server has used. */
async function serverCpu(redis) {
  const info = await redis.info('cpu')
  return ['user', 'sys'].reduce((sum, kind) => sum + 1e3 * Number(new RegExp(`cpu_${kind}:(\\S+)`).exec(info)[1]), 0)
}

async function serverNow(redis) {
  const [seconds, micros] = await redis.time()
  return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000)
}

const lateness = (id, due) => Number(id.split('-')[0]) - due

async function floor(tasks, redis) {
  const due = (await serverNow(redis)) + QUIET_MS
  for (let from = 0; from < tasks; from += PIPELINE) {
    const members = Array.from({ length: Math.min(PIPELINE, tasks - from) }, (_, i) => envelope(from + i))
    await redis.zadd('floor:due', ...members.flatMap((member) => [due, member]))
  }
  const worker = new Redis(redis.options)
  await pause(due - (await serverNow(redis)) - 5)
  const [before, used] = [await serverCpu(redis), process.cpuUsage()]
  for (let moved = 0; moved < tasks; ) {
    const ready = await worker.zrangebyscore('floor:due', '-inf', await serverNow(worker), 'LIMIT', 0, PIPELINE)
    moved += ready.length
    if (ready.length === 0) continue
    const pipeline = worker.pipeline()
    for (const member of ready) pipeline.xadd('floor:stream', '*', 'data', member)
    pipeline.zrem('floor:due', ...ready)
    await pipeline.exec()
  }
  const { user, system } = process.cpuUsage(used)
  const cpu = cpuText((user + system) / 1_000, (await serverCpu(redis)) - before)
  worker.disconnect()
  return { late: (await redis.xrange('floor:stream', '-', '+')).map(([id]) => lateness(id, due)), cpu }
}

const envelope = (i) => JSON.stringify({ header: { message_id: `m-${i}` }, body: { content: 'x'.repeat(400) } })
const cpuText = (here, there) => `CPU ${here.toFixed(0)} ms in the mover, ${there.toFixed(0)} ms in Redis`

async function promotion(tasks, redis, url, hasTakers) {
  const keeper = await start(url, 'keeper')
  const taker = hasTakers ? await start(url, 'agent') : undefined
  const due = await send(tasks, redis, url)
  await pause(due - (await serverNow(redis)) - 50)
  keeper.send('mark')
  const before = await serverCpu(redis)
  const late = await (hasTakers ? started(tasks, redis, due) : promoted(tasks, redis, due))
  keeper.send('report')
  const [{ cpuMs }] = await once(keeper, 'message')
  const cpu = cpuText(cpuMs, (await serverCpu(redis)) - before)
  await Promise.all([stop(keeper), taker && stop(taker)])
  return { late, cpu }
}

/** Sends delayed tasks and moves all of them to one and the same moment; answers it. */
async function send(tasks, redis, url) {
  const client = new GatewayClient({ redis: url })
  const delayMs = 60_000
  const one = (i) =>
    client.sendMessage({
      ...{ targetAgentType: 'agent', sessionId: `s-${i % SESSIONS}`, messageId: `m-${i}` },
      ...{ content: 'x'.repeat(200), delayMs },
    })
  for (let from = 0; from < tasks; from += PIPELINE) {
    await Promise.all(Array.from({ length: Math.min(PIPELINE, tasks - from) }, (_, i) => one(from + i)))
  }
  await client.close()
  const due = (await serverNow(redis)) + QUIET_MS
  for (const shard of SHARDS) {
    const members = await redis.zrange(shard, 0, -1)
    for (let from = 0; from < members.length; from += PIPELINE) {
      const part = members.slice(from, from + PIPELINE)
      await redis.zadd(shard, 'XX', ...part.flatMap((member) => [due, member]))
    }
  }
  return due
}

/** Nobody takes the entries, so they are there to be looked at. */
async function promoted(tasks, redis, due) {
  const key = 'queue:ctrl:agent'
  while ((await redis.xlen(key)) < tasks) await pause(100)
  return (await redis.xrange(key, '-', '+')).map(([id]) => lateness(id, due))
}

/** The fence of a record names the entry that its task was started by. */
async function started(tasks, redis, due) {
  const key = 'queue:ctrl:agent'
  await pause(due - (await serverNow(redis)) + 500)
  for (;;) {
    const pipeline = redis.pipeline()
    for (let i = 0; i < tasks; i += 1) pipeline.hget(`queue:task:{s-${i % SESSIONS}}:m-${i}`, 'fence')
    const fences = (await pipeline.exec()).map(([, fence]) => fence.split(':'))
    if (fences.every(([state]) => state === 'C')) return fences.map(([, , id]) => lateness(id, due))
    await redis.xlen(key)
    await pause(500)
  }
}

if (process.argv[2] === 'worker') await work(process.argv[3], process.argv[4])
else await main(Number(process.argv[2] ?? 10_000), Number(process.argv[3] ?? 3))
