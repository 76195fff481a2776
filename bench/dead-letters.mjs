// How long it takes to look through, redrive and drop many dead letters: `node bench/dead-letters.mjs [letters]`, after
// `npm run build`. It starts a Redis of its own, with an append-only file.
import { Redis } from 'ioredis'
import { GatewayClient } from '../dist/index.js'
import { startLocalRedis } from '../dist/testing/index.js'

const COUNT = Number(process.argv[2] ?? 100_000)
const SESSIONS = 5_000
const PIPELINE = 1_000
const HISTORY = JSON.stringify(
  [1, 2, 3].map((attempt) => ({
    attempt,
    code: 'GW_TASK_FAILED',
    message: 'no answer',
    at: 1,
    workerId: 'w',
    entryId: '1-0',
  })),
)

const server = await startLocalRedis({ fresh: true, args: ['--appendonly', 'yes'] })
const client = new GatewayClient({ redis: server.url })
const redis = new Redis(server.url)

/** Failed tasks and their letters, as workers leave them; without their records if these have expired. */
async function fill({ expired = false } = {}) {
  await redis.flushall()
  for (let from = 0; from < COUNT; from += PIPELINE) {
    const pipeline = redis.pipeline()
    for (let i = from; i < Math.min(COUNT, from + PIPELINE); i += 1)
      bury(pipeline, `s-${i % SESSIONS}`, `m-${i}`, expired)
    await pipeline.exec()
  }
  await redis.zadd('queue:dead-capabilities', Date.now(), 'agent')
}

function bury(pipeline, sessionId, messageId, expired) {
  const header = { message_id: messageId, session_id: sessionId, trace_id: 't' }
  const data = JSON.stringify({ action_type: 'ASK_AGENT', header, body: { content: 'x'.repeat(300) } })
  const record = { fence: 'F:3:1-0:w', created_at: 1, finished_at: 2, error: '{}', failures: 3, failure_log: HISTORY }
  if (!expired) pipeline.hset(`queue:task:{${sessionId}}:${messageId}`, record)
  const ids = { entry_id: '1-0', worker_id: 'w', session_id: sessionId, message_id: messageId }
  const letter = { data, 'entry.turn': 2, reason: 'failed', detail: 'no answer', ...ids, epoch: 3, history: HISTORY }
  pipeline.xadd('queue:dead:agent', '*', ...Object.entries(letter).flat())
  pipeline.zadd('queue:dead-index:{queue:dead:agent}', Date.now(), `task ${sessionId} ${messageId} 2`)
}

/** Seconds of CPU that the server has used. */
async function serverCpu() {
  const info = await redis.info('cpu')
  return ['user', 'sys'].reduce((sum, kind) => sum + Number(new RegExp(`used_cpu_${kind}:(\\S+)`).exec(info)[1]), 0)
}

async function measure(name, run) {
  const serverBefore = await serverCpu()
  const [startedAt, usedBefore] = [performance.now(), process.cpuUsage()]
  const result = await run()
  const { user, system } = process.cpuUsage(usedBefore)
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(2)
  const cpu = `CPU ${((user + system) / 1e6).toFixed(2)} s here, ${((await serverCpu()) - serverBefore).toFixed(2)} s in Redis`
  console.log(`${name}: ${seconds} s (${cpu})`, JSON.stringify(result))
}

const counted = ({ matched, redriven, skipped }) => ({ matched, redriven, skipped: skipped.length })
try {
  await fill()
  await measure('find one', async () => (await client.showDeadLetter({ messageId: 'm-0' }))?.messageId)
  await measure('dry run', async () => counted(await client.redriveDeadLetters({ dryRun: true })))
  await measure('redrive', async () => counted(await client.redriveDeadLetters()))
  await fill({ expired: true })
  await measure('redrive, records expired', async () => counted(await client.redriveDeadLetters()))
  await fill()
  await measure('drop', () => client.dropDeadLetters())
} finally {
  redis.disconnect()
  await client.close()
  await server.stop()
}
