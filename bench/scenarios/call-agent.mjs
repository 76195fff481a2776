import { startChild } from '../lib/child.mjs'
import { within } from '../lib/clock.mjs'
import { decimal, whole } from '../lib/format.mjs'
import { startRedisMeter } from '../lib/redis-stats.mjs'
import { ownRows } from '../lib/row.mjs'
import { importSdk } from '../lib/sdk.mjs'
import { ascending, percentile } from '../lib/stats.mjs'

const LIMIT_MS = 120_000
const CALLS = 4_000
const QUICK_CALLS = 400
// Until then the compilers of the Node processes are still at work.
const WARM_CALLS = 3_000
const WIDTH = 100

const CASES = [
  { id: 'one', title: 'one call', act: 'pairs', target: 'callee', share: 1 },
  { id: 'five', title: 'five hops, each a call of the next', act: 'pairs', target: 'hop-3', hops: 5, share: 0.25 },
  { id: 'crowd', title: `${WIDTH} calls at once`, act: 'crowd', target: 'callee', share: 2, width: WIDTH },
]

const measure = async ({ act, target, calls: count, warm, width, hops = 1 }, { server: { port, redis } }) => {
  await redis.flushall()
  const { GatewayClient } = await importSdk()
  const callee = startChild('call-process')
  const caller = startChild('call-process')
  const client = new GatewayClient({ redis: `redis://127.0.0.1:${port}/0` })
  try {
    await callee.call('start', { port, role: hops > 1 ? 'hops' : 'callee', options: { maxConcurrency: 2 * WIDTH } })
    await caller.call('start', { port, role: 'caller' })
    await caller.call('expect', { key: act })
    const stopMeter = await startRedisMeter(redis)
    const content = JSON.stringify({ act, key: act, warm, count, target, width, hops })
    await client.sendMessage({ targetAgentType: 'caller', sessionId: 'bench', content })
    const { calls, trips } = await within(LIMIT_MS, `calls of ${target}`, caller.call('result', { key: act }))
    const used = await stopMeter()
    await caller.call('stop')
    await callee.call('stop')
    const [ours, bare] = [ascending(calls), ascending(trips)]
    return {
      p50: percentile(ours, 50),
      p99: percentile(ours, 99),
      bareP50: percentile(bare, 50),
      bareP99: percentile(bare, 99),
      ratio: percentile(ours, 50) / percentile(bare, 50),
      redisCpu: used.cpuMicros / (warm + count),
      void: calls.length === count ? undefined : `${calls.length} of ${count} calls were answered`,
    }
  } finally {
    await client.close()
    await Promise.all([caller.close(), callee.close()])
  }
}

/** A call of another agent beside the bare round trip that it stands on. */
export const scenario = {
  id: 'call-agent',
  title: 'callAgent: from the call to its answer, beside a bare round trip',
  note:
    'Caller and called worker are processes of their own. The bare round trip, made in turn with the calls by the same two processes, is XADD ' +
    'to a stream, a blocking XREADGROUP there, XADD of the answer and a blocking XREAD back, with nothing around it: as many of them one after ' +
    'the other as there are hops, and as many at once as there are calls at once. What Redis spends on both is in its time per call.',
  groups: (contenders, { quick }) => {
    const rows = CASES.map(({ share, ...each }) => {
      const calls = Math.max(WIDTH, Math.round((quick ? QUICK_CALLS : CALLS) * share))
      const warm = quick ? QUICK_CALLS : Math.max(WIDTH, Math.round(WARM_CALLS * share))
      return { ...each, title: `${each.title}, ${whole(calls)} times`, calls, warm }
    })
    return [{ id: 'call-agent', title: 'byclaw-gateway-sdk', rows: ownRows(contenders, rows) }]
  },
  measure,
  columns: [
    { key: 'p50', title: 'p50 ms', format: decimal(2), range: true },
    { key: 'p99', title: 'p99 ms', format: decimal(2), range: true },
    { key: 'bareP50', title: 'bare p50 ms', format: decimal(2), range: true },
    { key: 'bareP99', title: 'bare p99 ms', format: decimal(2), range: true },
    { key: 'ratio', title: '× bare (p50)', format: decimal(2), range: true },
    { key: 'redisCpu', title: 'Redis µs/call', format: decimal(1) },
  ],
}
