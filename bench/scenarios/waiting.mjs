import { startChild } from '../lib/child.mjs'
import { nowMs, within } from '../lib/clock.mjs'
import { decimal, whole } from '../lib/format.mjs'
import { ownRows } from '../lib/row.mjs'
import { importSdk } from '../lib/sdk.mjs'
import { ascending, percentile } from '../lib/stats.mjs'

const LIMIT_MS = 120_000
const LOOK_EVERY_MS = 20
const TASKS = 10_000
const QUICK_TASKS = 1_000
const SINGLE = 500
const IN_FLIGHT = 300
const NEVER_MS = 3_600_000
const SOON_MS = 50

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const until = (what, isSo) =>
  within(
    LIMIT_MS,
    what,
    (async () => {
      while (!(await isSo())) await sleep(LOOK_EVERY_MS)
    })(),
  )

/** Carries out `work` for each item, so many at once. */
const inFlight = async (items, work) => {
  const left = [...items]
  const lane = async () => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) await work(item)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
}

/** Tasks by the state that the first letter of their fence says. */
const countState = async (redis, ids, letter) => {
  const pipeline = redis.pipeline()
  for (const id of ids) pipeline.hget(`queue:task:{${id}}:${id}`, 'fence')
  const fences = await pipeline.exec()
  return fences.filter(([, fence]) => fence?.startsWith(letter)).length
}

const startWaiting = async ({ port, client, tasks, suspendAfterMs, redis }) => {
  const waiter = startChild('call-process', { execArgv: ['--expose-gc'] })
  const options = { maxConcurrency: 200, suspendAfterMs }
  await waiter.call('start', { port, role: 'waiter', options })
  const send = (id) => client.sendMessage({ targetAgentType: 'waiting', sessionId: id, messageId: id, content: 'x' })
  const ids = Array.from({ length: tasks }, (_, index) => `w-${suspendAfterMs}-${index}`)
  const warm = ids.map((id) => `warm-${id}`).slice(0, SINGLE)
  await inFlight(warm, send)
  const asked = (all) => async () =>
    (await Promise.all(all.map((id) => redis.exists(`queue:journal:{${id}}:${id}`)))).every(Boolean)
  await until('first questions', asked(warm))
  const asks = await questionsOf(client, warm)
  await inFlight(warm, (id) => reply(client, id, asks))
  await until('first ends', async () => (await countState(redis, warm, 'C:')) === warm.length)
  await waiter.call('resumed')
  const base = await waiter.call('memory')
  await inFlight(ids, send)
  await until('all questions', asked(ids))
  return { waiter, ids, base }
}

const reply = async (client, id, asks) => {
  const { status } = await client.reply({ sessionId: id, messageId: id, askId: asks.get(id), content: 'yes' })
  if (status !== 'ACCEPTED') throw new Error(`the answer of ${id} was ${status}`)
}

const heapOf = async ({ waiter, ids, base }) => ((await waiter.call('memory')) - base) / ids.length

const measure = async ({ tasks }, { server: { port, redis } }) => {
  await redis.flushall()
  const { GatewayClient } = await importSdk()
  const client = new GatewayClient({ redis: `redis://127.0.0.1:${port}/0` })
  const children = []
  try {
    const awake = await startWaiting({ port, client, tasks: Math.min(tasks, 2_000), suspendAfterMs: NEVER_MS, redis })
    children.push(awake.waiter)
    const heapBefore = await heapOf(awake)
    await awake.waiter.close()
    await redis.flushall()
    const asleep = await startWaiting({ port, client, tasks, suspendAfterMs: SOON_MS, redis })
    children.push(asleep.waiter)
    await until('all suspended', async () => (await countState(redis, asleep.ids, 'W:')) === asleep.ids.length)
    const heapAfter = await heapOf(asleep)
    const latencies = await resumeOneByOne(client, asleep)
    const rest = asleep.ids.slice(SINGLE)
    const asks = await questionsOf(client, rest)
    const begin = nowMs()
    await inFlight(rest, (id) => reply(client, id, asks))
    const seen = []
    await until(
      'all resumed',
      async () => seen.push(...(await asleep.waiter.call('resumed'))) && seen.length >= rest.length,
    )
    const took = Math.max(...seen.map(({ at }) => at)) - begin
    await until('all ended', async () => (await countState(redis, asleep.ids, 'C:')) === asleep.ids.length)
    await asleep.waiter.call('stop')
    const twice = seen.length - new Set(seen.map(({ id }) => id)).size
    return {
      ...{ heapBefore, heapAfter, p50: percentile(latencies, 50), p99: percentile(latencies, 99) },
      rate: (rest.length / took) * 1_000,
      void: twice > 0 ? `${twice} tasks went on twice` : undefined,
    }
  } finally {
    await client.close()
    await Promise.all(children.map((child) => child.close()))
  }
}

const questionsOf = async (client, ids) => {
  const asks = new Map()
  await inFlight(ids, async (id) => asks.set(id, (await client.pendingAsks(id))[0].askId))
  return asks
}

/** From the reply to the line behind the await, one after the other. */
const resumeOneByOne = async (client, { waiter, ids }) => {
  const single = ids.slice(0, SINGLE)
  const asks = await questionsOf(client, single)
  const samples = []
  for (const id of single) {
    const begin = nowMs()
    await reply(client, id, asks)
    let went = []
    while (went.length === 0) went = await waiter.call('resumed')
    samples.push(went[0].at - begin)
  }
  return ascending(samples)
}

/** Tasks that wait for a person: what they cost, and how soon they go on. */
export const scenario = {
  id: 'waiting',
  title: 'Waiting: memory per task, and how soon a suspended one goes on',
  note:
    'Tasks of a session each that wait for the answer to a question. Heap is what one of them adds to the worker process, while it waits in memory and ' +
    'when it is suspended. A resume counts from the call of `client.reply` to the line behind the await, in another process, where the ' +
    'handler has run again from its top.',
  groups: (contenders, { quick }) => {
    const tasks = quick ? QUICK_TASKS : TASKS
    const row = { id: 'waiting', title: `${whole(tasks)} tasks`, tasks }
    return [{ id: 'waiting', title: 'byclaw-gateway-sdk', rows: ownRows(contenders, [row]) }]
  },
  measure,
  columns: [
    { key: 'heapBefore', title: 'heap B/task in memory', format: whole },
    { key: 'heapAfter', title: 'heap B/task suspended', format: whole },
    { key: 'p50', title: 'resume p50 ms', format: decimal(2), range: true },
    { key: 'p99', title: 'resume p99 ms', format: decimal(2), range: true },
    { key: 'rate', title: 'resumes/s', format: whole, range: true },
  ],
}
