import { setTimeout as pause } from 'node:timers/promises'
import calculateSlot from 'cluster-key-slot'
import { Cluster, type ClusterOptions, Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { GatewayClient } from '../../src/client/client.ts'
import { Keys } from '../../src/redis/keys.ts'
import type { RedisOption } from '../../src/redis/options.ts'
import { Agenda } from '../../src/store/agenda.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import type { LocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import { formCluster, masterOf, startNodes } from '../support/cluster.ts'
import { collect, envelope, FunctionWorker, memoryLogger } from '../worker/harness.ts'

const NODES = 3
let servers: LocalRedis[] = []
let nodes: { host: string; port: number }[] = []

/** A Cluster of three masters that share the slots. */
beforeAll(async () => {
  servers = await startNodes(NODES, ['--cluster-node-timeout', '2000'])
  await formCluster(servers)
  nodes = servers.map(({ port }) => ({ host: '127.0.0.1', port }))
}, 40_000)

afterAll(async () => {
  await house?.close()
  await Promise.all(servers.map((server) => server.stop()))
})

/**
 * Moves a slot with its keys from the node that has it to another, as an operator's tool does.
 *
 * @param meanwhile - Awaited when the move has begun and no key has been moved.
 */
async function moveSlot(slot: number, meanwhile: () => Promise<unknown> = async () => undefined): Promise<void> {
  const bare = nodes.map((node) => new Redis({ ...node, disconnectTimeout: 100 }))
  const call = (index: number, ...args: (string | number)[]) => (bare[index] as Redis).call('CLUSTER', ...args)
  const ids = (await Promise.all(bare.map((_, index) => call(index, 'MYID')))) as string[]
  const owners = (await call(0, 'SLOTS')) as [first: number, last: number, master: [string, number, string]][]
  const owner = owners.find(([first, last]) => first <= slot && slot <= last)?.[2][2] as string
  const from = ids.indexOf(owner)
  const to = (from + 1) % NODES
  await call(to, 'SETSLOT', slot, 'IMPORTING', owner)
  await call(from, 'SETSLOT', slot, 'MIGRATING', ids[to] as string)
  await meanwhile()
  for (;;) {
    const moved = (await call(from, 'GETKEYSINSLOT', slot, 10)) as string[]
    if (moved.length === 0) break
    await bare[from]?.call('MIGRATE', '127.0.0.1', nodes[to]?.port ?? 0, '', 0, 5_000, 'KEYS', ...moved)
  }
  for (const index of [to, from, 3 - to - from]) await call(index, 'SETSLOT', slot, 'NODE', ids[to] as string)
  for (const redis of bare) redis.disconnect()
}

const names = Array.from({ length: 20 }, (_, index) => `agent_${index}`)

/** What tasks wait for whose content says so. */
let gate = deferred()

async function open(redis: RedisOption = { cluster: nodes }, maxConcurrency = 50) {
  const keyPrefix = `c${Math.random().toString(36).slice(2)}`
  const logger = memoryLogger()
  const worker = await runWorker({
    ...{ redis, keyPrefix, logger, workerId: 'w', maxConcurrency, shutdownTimeoutMs: 1_000 },
    worker: new FunctionWorker(names, async (command, context) => {
      await context.emitChunk(`said ${command.content}`)
      if (command.content === 'bad') throw new Error('bad')
      if (command.content === 'wait') await gate.promise
      return command.content
    }),
  })
  const client = new GatewayClient({ redis, keyPrefix, logger })
  const bare = new Cluster(nodes, { redisOptions: { disconnectTimeout: 100 } })
  bare.on('error', () => undefined)
  const close = async () => {
    await client.close()
    await worker.stop()
    bare.disconnect()
  }
  return { client, worker, bare, keys: new Keys(keyPrefix), close }
}

/** A name whose key lies on a node. */
function onNodeOf(node: number, candidates: readonly string[], keyOf: (name: string) => string): string {
  return candidates.find((name) => masterOf(keyOf(name), NODES) === node) as string
}

function isRunning({ status }: { readonly status: string }): boolean {
  return status === 'RUNNING'
}

let house: Awaited<ReturnType<typeof open>>
beforeAll(async () => {
  house = await open()
}, 20_000)

describe('on a Cluster', () => {
  test('twenty capabilities and many sessions, all over the slots: every task runs, quickly, and nothing is left', async () => {
    const { client, bare, keys } = house
    await client.ask({ targetAgentType: 'agent_0', sessionId: 'warm', content: 'x' })
    const before = performance.now()
    const asks = Array.from({ length: 200 }, (_, i) =>
      client.ask({ targetAgentType: names[i % 20] as string, sessionId: `s-${i % 33}`, content: `${i}` }),
    )
    expect((await Promise.all(asks)).map(({ data }) => data)).toEqual(Array.from({ length: 200 }, (_, i) => `${i}`))
    expect(performance.now() - before).toBeLessThan(10_000)
    for (const name of names) {
      await waitFor(async () => (await bare.xlen(keys.control(name))) === 0, { message: `${name} to be empty` })
    }
  })

  test('one after the other into an idle worker: no capability waits for the turn of another', async () => {
    const { client } = house
    for (const targetAgentType of names) {
      const before = performance.now()
      expect(await client.ask({ targetAgentType, sessionId: 's', content: 'x' })).toMatchObject({ data: 'x' })
      expect(performance.now() - before).toBeLessThan(1_500)
    }
  })

  test('a task for one worker goes there', async () => {
    const { client, bare, keys } = house
    const asks = names.map((targetAgentType, i) =>
      client.ask({ targetAgentType, sessionId: `s-${i}`, content: `${i}`, targetWorkerId: 'w' }),
    )
    expect((await Promise.all(asks)).map(({ data }) => data)).toEqual(names.map((_, i) => `${i}`))
    for (const name of names) {
      const lane = keys.control(name, '@w')
      await waitFor(async () => (await bare.exists(lane)) === 0, { timeoutMs: 15_000, message: `${lane} to be gone` })
    }
  })

  test('replicas cannot be waited for, and that is said', async () => {
    const request = { targetAgentType: 'agent_0', sessionId: 's', content: 'x', waitReplicas: 1 }
    const error = { code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining('waitReplicas') }
    expect(await house.client.sendMessage(request)).toMatchObject({ success: false, status: 'REJECTED', error })
  })

  test('readers get every event once, whoever writes', async () => {
    const { client, bare, keys } = house
    const subscriptions = Array.from({ length: 10 }, (_, i) =>
      client.subscribe(`s-${i}`, { messageId: 'm', after: '0' }),
    )
    await Promise.all(subscriptions.map((subscription) => subscription.opened()))
    const read = subscriptions.map(collect)
    for (let i = 0; i < 10; i += 1) {
      if (i % 2 === 0)
        await client.sendMessage({ targetAgentType: 'agent_3', sessionId: `s-${i}`, messageId: 'm', content: `${i}` })
      else await bare.xadd(keys.control('agent_3'), '*', 'data', envelope('m', `s-${i}`, { content: `${i}` }))
    }
    for (const [i, events] of (await Promise.all(read)).entries()) {
      expect(events.map((event) => (event.type === 'chunk' ? event.content : event.type))).toEqual([
        `said ${i}`,
        'done',
      ])
    }
  })

  test('lanes go by their turns though they lie in different slots, and nothing is taken that has to be put back', async () => {
    const { client, bare, keys } = house
    const lanes = ['high', 'normal', 'low'] as const
    const send = { targetAgentType: 'solo', sessionId: 's-lanes' }
    for (let i = 0; i < 12; i += 1) {
      for (const priority of lanes) await client.sendMessage({ ...send, priority, content: `${priority} ${i}` })
    }
    const ran: string[] = []
    await using _worker = await runWorker({
      ...{ redis: { cluster: nodes }, keyPrefix: keys.prefix, logger: memoryLogger(), maxConcurrency: 1 },
      worker: new FunctionWorker(['solo'], async (command) => {
        await pause(20)
        ran.push(String(command.content))
      }),
    })
    await waitFor(() => ran.length === 36, { timeoutMs: 15_000, message: () => `36 tasks, there are ${ran.length}` })
    for (const lane of lanes) {
      expect(ran.filter((content) => content.startsWith(lane))).toEqual(
        Array.from({ length: 12 }, (_, i) => `${lane} ${i}`),
      )
      const info = (await bare.xinfo('STREAM', keys.control('solo', lane))) as unknown[]
      expect(info[info.indexOf('entries-added') + 1]).toBe(12)
    }
    const first = ran.slice(0, 16)
    // Twelve by the rule; a turn may be missed while a lane's reader is on its way.
    expect(first.filter((content) => content.startsWith('high')).length).toBeGreaterThanOrEqual(9)
    expect(first.filter((content) => content.startsWith('low')).length).toBeGreaterThanOrEqual(1)
  })

  test('idempotent sends, failures, dead letters, presence and lists', async () => {
    const { client, bare, keys } = house
    const send = { targetAgentType: 'agent_7', sessionId: 's-mixed', messageId: 'm', content: 'x' }
    expect(await client.sendMessage({ ...send, targetAgentType: 'nobody', requireOnlineWorker: true })).toMatchObject({
      status: 'NO_WORKER',
    })
    await Promise.all(Array.from({ length: 10 }, () => client.sendMessage({ ...send, requireOnlineWorker: true })))
    expect(await client.result({ sessionId: 's-mixed', messageId: 'm' })).toMatchObject({ data: 'x', attempts: 1 })
    expect(await client.ask({ ...send, messageId: undefined, content: 'bad' })).toMatchObject({ status: 'FAILED' })
    await bare.xadd(keys.control('agent_7'), '*', 'data', 'poison')
    await waitFor(async () => (await client.listDeadLetters('agent_7')).length === 2)
    const reasons = (await client.listDeadLetters('agent_7')).map(({ reason }) => reason)
    expect(reasons.sort()).toEqual(['bad-json', 'failed'])
    expect(await client.listTasks({ sessionId: 's-mixed' })).toHaveLength(2)
    expect((await client.listWorkers()).map(({ workerId, capabilities }) => [workerId, capabilities.length])).toEqual([
      ['w', 20],
    ])
  })

  test('the doctor looks at every node, repairs on every node, and finds nothing where all is well', async () => {
    const { client, bare, keys, close } = await open()
    onTestFinished(close)
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        client.ask({ targetAgentType: names[i % 20] as string, sessionId: `s-${i}`, content: `${i}` }),
      ),
    )
    expect(await client.diagnose({ intervalMs: 200 })).toMatchObject({ findings: [], notes: [], recordsSeen: 40 })
    for (let i = 0; i < 30; i += 1) {
      await bare.hset(keys.task(`l-${i}`, 'm'), { agent_type: 'agent_1', created_at: 1, fence: 'Q:0::' })
    }
    const { findings } = await client.diagnose({ intervalMs: 20, fix: true })
    expect(findings.map(({ kind, fixed }) => [kind, fixed])).toEqual(
      Array.from({ length: 30 }, () => ['waiting-without-entry', true]),
    )
    expect(await client.result({ sessionId: 'l-7', messageId: 'm' })).toMatchObject({ status: 'FAILED' })
    expect(await client.explain({ sessionId: 's-1', messageId: 'm' })).toMatchObject({ state: 'unknown' })
    expect((await client.diagnose({ intervalMs: 20 })).findings).toEqual([])
  })

  test('dead letters of many sessions are redriven, and dropped', async () => {
    const { client, bare, keys } = house
    const count = 30
    for (let i = 0; i < count; i += 1) {
      const capability = `agent_${8 + (i % 3)}`
      await bare.xadd(keys.control(capability), '*', 'data', envelope('poison', `dead-${i}`, {}, 'DANCE'))
    }
    const filter = { messageId: 'poison' }
    const ids = async () => (await client.listDeadLetters({ ...filter, limit: 1_000 })).map(({ id }) => id)
    const ended = async (epoch: number) => {
      const tasks = await Promise.all(
        Array.from({ length: count }, (_, i) => client.getTask({ sessionId: `dead-${i}`, messageId: 'poison' })),
      )
      return tasks.every((task) => task?.status === 'FAILED' && task.epoch === epoch)
    }
    await waitFor(() => ended(1), { timeoutMs: 15_000, message: 'all to fail' })
    const before = await ids()
    expect(before).toHaveLength(count)
    const expected = { matched: count, redriven: count, skipped: [] }
    expect(await client.redriveDeadLetters({ ...filter, dryRun: true })).toEqual(expected)
    expect(await client.redriveDeadLetters(filter)).toEqual(expected)
    await waitFor(() => ended(2), { timeoutMs: 15_000, message: 'all to fail again' })
    const after = await ids()
    expect(after).toHaveLength(count)
    expect(after.filter((id) => before.includes(id))).toEqual([])
    expect(await client.dropDeadLetters(filter)).toEqual({ matched: count, dropped: count })
    expect(await ids()).toEqual([])
  })

  test('durable calls: caller, called, questions and timers lie in different slots, in memory and suspended', async () => {
    const keyPrefix = `c${Math.random().toString(36).slice(2)}`
    const logger = memoryLogger()
    const common = { redis: { cluster: nodes }, keyPrefix, logger, shutdownTimeoutMs: 1_000, suspendAfterMs: 30 }
    const worker = await runWorker({
      ...common,
      worker: new FunctionWorker(['caller', ...names], async ({ content }, context) => {
        if (context.agentType !== 'caller') {
          await context.sleep(Number(content) * 10)
          return `${context.agentType} ${content}`
        }
        const calls = names.map((targetAgentType, i) => ({ targetAgentType, content: `${i}` }))
        const replies = await context.dispatchGroup(calls)
        const name = await context.askUser('Who?')
        const late = await context
          .callAgent({ targetAgentType: 'nobody', content: 'x', timeoutMs: 100 })
          .catch((error: { status: string }) => error.status)
        return [name, late, ...replies.map((reply) => 'content' in reply && reply.content)]
      }),
    })
    onTestFinished(() => worker.stop())
    const client = new GatewayClient({ redis: common.redis, keyPrefix, logger })
    onTestFinished(() => client.close())
    const sessions = Array.from({ length: 6 }, (_, i) => `session-${i}`)
    const ends = await Promise.all(
      sessions.map(async (sessionId) => {
        const ref = { sessionId, messageId: 'm' }
        await client.sendMessage({ targetAgentType: 'caller', ...ref, content: 'hi' })
        await waitFor(async () => (await client.pendingAsks(sessionId)).length === 1, { timeoutMs: 20_000 })
        const [ask] = await client.pendingAsks(sessionId)
        expect(await client.reply({ ...ref, askId: ask?.askId ?? '', content: sessionId })).toMatchObject({
          success: true,
        })
        return client.result({ ...ref, timeoutMs: 20_000 })
      }),
    )
    const expected = names.map((name, i) => `${name} ${i}`)
    expect(ends.map(({ data }) => data)).toEqual(sessions.map((id) => [id, 'TIMEOUT', ...expected]))
  }, 60_000)

  test('slots of a control stream and of a session move to another node under load: every task runs once', async () => {
    const { client, keys, close } = await open()
    onTestFinished(close)
    const send = { targetAgentType: 'agent_5', sessionId: 's-moved' }
    await client.ask({ ...send, content: 'warm' })
    let isOver = false
    const ends: unknown[] = []
    const load = Array.from({ length: 4 }, async (_, lane) => {
      for (let i = 0; !isOver; i += 1)
        ends.push([`${lane}-${i}`, await client.ask({ ...send, content: `${lane}-${i}` })])
    })
    for (const key of [keys.control('agent_5'), keys.data('s-moved')]) {
      const { length } = ends
      await waitFor(() => ends.length > length + 10)
      await moveSlot(calculateSlot(key))
    }
    const { length } = ends
    await waitFor(() => ends.length > length + 10, { timeoutMs: 20_000 })
    isOver = true
    await Promise.all(load)
    for (const end of ends as [string, object][])
      expect(end[1]).toMatchObject({ status: 'COMPLETED', data: end[0], attempts: 1 })
    expect((await client.diagnose({ intervalMs: 200 })).findings).toEqual([])
  }, 60_000)

  test('tasks that end while their slot is on its way run once and leave nothing', async () => {
    const keyPrefix = `c${Math.random().toString(36).slice(2)}`
    const logger = memoryLogger()
    const redis = { cluster: nodes }
    const [gate, ran] = [deferred(), [] as unknown[]]
    const worker = await runWorker({
      ...{ redis, keyPrefix, logger, shutdownTimeoutMs: 1_000 },
      worker: new FunctionWorker(['agent'], async ({ content }, context) => {
        ran.push(content)
        await context.emitChunk('began')
        // Only who has a journal has keys that no script is told of.
        if (content === '0') await context.step('step', async () => 1)
        await gate.promise
        return content
      }),
    })
    onTestFinished(() => worker.stop())
    const client = new GatewayClient({ redis, keyPrefix, logger })
    onTestFinished(() => client.close())
    const contents = ['0', '1', '2', '3', '4']
    const asks = contents.map((content) => client.ask({ targetAgentType: 'agent', sessionId: 's', content }))
    await waitFor(() => ran.length === asks.length)
    await pause(200)
    await moveSlot(calculateSlot(new Keys(keyPrefix).data('s')), async () => {
      gate.resolve()
      await pause(1_000)
    })
    expect(await Promise.all(asks)).toMatchObject(contents.map((data) => ({ status: 'COMPLETED', data })))
    expect(ran.sort()).toEqual(contents)
    expect((await client.diagnose({ intervalMs: 200 })).findings).toEqual([])
  }, 60_000)

  test('a suspended task is cancelled though its slot is on its way', async () => {
    const keyPrefix = `c${Math.random().toString(36).slice(2)}`
    const logger = memoryLogger()
    const redis = { cluster: nodes }
    const worker = await runWorker({
      ...{ redis, keyPrefix, logger, shutdownTimeoutMs: 1_000, suspendAfterMs: 30 },
      worker: new FunctionWorker(['agent'], (_command, context) => context.askUser('Who?')),
    })
    onTestFinished(() => worker.stop())
    const client = new GatewayClient({ redis, keyPrefix, logger })
    onTestFinished(() => client.close())
    const task = { sessionId: 's', messageId: 'm' }
    await client.sendMessage({ ...task, targetAgentType: 'agent', content: 'x' })
    await waitFor(async () => (await client.getTask(task))?.status === 'WAITING_USER')
    await pause(200)
    let cancelled: Promise<unknown> = Promise.resolve()
    await moveSlot(calculateSlot(new Keys(keyPrefix).data('s')), async () => {
      cancelled = client.cancelTask(task)
      cancelled.catch(() => undefined)
      await pause(1_000)
    })
    expect(await cancelled).toMatchObject({ status: 'CANCELLED' })
    expect(await client.result(task)).toMatchObject({ status: 'CANCELLED' })
  }, 60_000)

  test('while a node does not answer, only what has to go there waits for it', async () => {
    const { client, keys } = house
    const onNode = (node: number, keyOf: (name: string) => string) =>
      onNodeOf(
        node,
        Array.from({ length: 60 }, (_, index) => `away-${index}`),
        keyOf,
      )
    const bare = new Redis({ ...nodes[0], disconnectTimeout: 100 } as { host: string; port: number })
    onTestFinished(() => bare.disconnect())
    const request = (agentNode: number, sessionNode: number) => ({
      targetAgentType: onNode(agentNode, (name) => keys.control(name)),
      sessionId: onNode(sessionNode, (name) => keys.session(name)),
      content: 'hi',
    })
    await client.sendMessage(request(1, 2))
    const pausedMs = 2_500
    const before = performance.now()
    await bare.call('CLIENT', 'PAUSE', pausedMs, 'ALL')
    const tookMs = async (sent: Promise<unknown>) => {
      await sent
      return performance.now() - before
    }
    // More than may be under way at once, of each kind, and before the others.
    const held = [request(0, 1), request(1, 0)].flatMap((each) =>
      Array.from({ length: 200 }, () => tookMs(client.sendMessage(each))),
    )
    const healthy = [request(1, 2), request(2, 1), request(2, 2)].map((each) => tookMs(client.sendMessage(each)))
    expect(Math.max(...(await Promise.all(healthy)))).toBeLessThan(pausedMs - 500)
    expect(Math.min(...(await Promise.all(held)))).toBeGreaterThan(pausedMs - 500)
  })

  test('a task whose session is on a node that does not answer holds no later one of its lane up', async () => {
    const { client, keys } = house
    const sessions = Array.from({ length: 60 }, (_, index) => `lane-${index}`)
    const targetAgentType = onNodeOf(1, names, (name) => keys.control(name))
    const [held, healthy] = [0, 2].map((node) => onNodeOf(node, sessions, (name) => keys.session(name)))
    await client.ask({ targetAgentType, sessionId: healthy as string, content: 'x' })
    const bare = new Redis({ ...nodes[0], disconnectTimeout: 100 } as { host: string; port: number })
    onTestFinished(() => bare.disconnect())
    const pausedMs = 2_500
    const before = performance.now()
    await bare.call('CLIENT', 'PAUSE', pausedMs, 'ALL')
    const first = client.ask({ targetAgentType, sessionId: held as string, content: 'first' })
    await pause(300)
    expect(await client.ask({ targetAgentType, sessionId: healthy as string, content: 'next' })).toMatchObject({
      data: 'next',
    })
    expect(performance.now() - before).toBeLessThan(pausedMs - 500)
    expect(await first).toMatchObject({ data: 'first' })
    expect(performance.now() - before).toBeGreaterThan(pausedMs - 500)
  })

  /** Holds the first node up, and answers what takes how long from then on. */
  async function holdUp(pausedMs: number): Promise<(done: Promise<unknown>) => Promise<number>> {
    const bare = new Redis({ ...nodes[0], disconnectTimeout: 100 } as { host: string; port: number })
    onTestFinished(() => bare.disconnect())
    const before = performance.now()
    await bare.call('CLIENT', 'PAUSE', pausedMs, 'ALL')
    return async (done) => {
      await done
      return performance.now() - before
    }
  }

  test('tasks come to their ends though others of the same moment have their sessions on a node that does not answer', async () => {
    const { client, keys } = house
    const sessions = Array.from({ length: 60 }, (_, index) => `ends-${index}`)
    const targetAgentType = onNodeOf(1, names, (name) => keys.control(name))
    const [held, healthy] = [0, 2].map((node) => onNodeOf(node, sessions, (name) => keys.session(name)) as string)
    const ask = (sessionId = '', content = 'x') => client.ask({ targetAgentType, sessionId, content })
    await Promise.all([ask(held), ask(healthy)])
    gate = deferred()
    const mixed = Array.from({ length: 20 }, (_, index) => ({ sessionId: index % 2 === 0 ? held : healthy }))
    const ends = mixed.map(({ sessionId }) => ask(sessionId, 'wait'))
    await waitFor(async () => (await client.listTasks({ sessionId: healthy })).filter(isRunning).length === 10)
    await waitFor(async () => (await client.listTasks({ sessionId: held })).filter(isRunning).length === 10)
    const pausedMs = 2_500
    const tookMs = await holdUp(pausedMs)
    gate.resolve()
    const times = ends.map(tookMs)
    expect(Math.max(...(await Promise.all(times.filter((_, index) => index % 2 === 1))))).toBeLessThan(pausedMs - 500)
    expect(Math.min(...(await Promise.all(times.filter((_, index) => index % 2 === 0))))).toBeGreaterThan(
      pausedMs - 500,
    )
  })

  test('so do tasks that one read has brought together', async () => {
    const { client, bare, keys } = house
    const sessions = Array.from({ length: 60 }, (_, index) => `begins-${index}`)
    const targetAgentType = onNodeOf(1, names, (name) => keys.control(name))
    const [held = '', healthy = ''] = [0, 2].map((node) => onNodeOf(node, sessions, (name) => keys.session(name)))
    await Promise.all([held, healthy].map((sessionId) => client.ask({ targetAgentType, sessionId, content: 'x' })))
    const mixed = Array.from({ length: 20 }, (_, index) => ({
      sessionId: index % 2 === 0 ? held : healthy,
      messageId: `begun-${index}`,
    }))
    const pausedMs = 2_500
    const tookMs = await holdUp(pausedMs)
    const times = mixed.map((ref) => tookMs(client.result(ref)))
    const pipeline = bare.pipeline()
    for (const { sessionId, messageId } of mixed) {
      pipeline.xadd(keys.control(targetAgentType), '*', 'data', envelope(messageId, sessionId))
    }
    await pipeline.exec()
    expect(Math.max(...(await Promise.all(times.filter((_, index) => index % 2 === 1))))).toBeLessThan(pausedMs - 500)
    await Promise.all(times)
  })

  test('suspended tasks go on though others of the same moment have their lane on a node that does not answer', async () => {
    const { bare, keys } = house
    const keyPrefix = keys.control('x').slice(0, keys.control('x').indexOf(':'))
    const [held = '', healthy = ''] = [0, 1].map((node) =>
      onNodeOf(
        node,
        Array.from({ length: 60 }, (_, index) => `asks_${index}`),
        (name) => keys.control(name),
      ),
    )
    const sessions = Array.from({ length: 200 }, (_, index) => `asks-${index}`)
    const own = sessions.filter((name) => onNodeOf(2, [name], (session) => keys.session(session)) === name)
    const worker = await runWorker({
      ...{ redis: { cluster: nodes }, keyPrefix, logger: memoryLogger(), shutdownTimeoutMs: 1_000, suspendAfterMs: 30 },
      worker: new FunctionWorker([held, healthy], (_command, context) => context.askUser('Who?')),
    })
    onTestFinished(() => worker.stop())
    const { client } = house
    // Each a call of its own, and more than may be under way at once.
    const tasks = own.slice(0, 12).map((sessionId, index) => {
      return { sessionId, messageId: 'm', targetAgentType: index < 10 ? held : healthy }
    })
    await Promise.all(tasks.map((task) => client.sendMessage({ ...task, content: 'x' })))
    const fenceOf = ({ sessionId, messageId }: (typeof tasks)[number]) =>
      bare.hget(keys.task(sessionId, messageId), 'fence')
    await waitFor(async () => (await Promise.all(tasks.map(fenceOf))).every((fence) => fence?.startsWith('W:')))
    const asks = await Promise.all(
      tasks.map(async ({ sessionId }) => (await client.pendingAsks(sessionId))[0]?.askId ?? ''),
    )
    const pausedMs = 2_500
    const tookMs = await holdUp(pausedMs)
    const answer = (index: number) => {
      const { sessionId, messageId } = tasks[index] as (typeof tasks)[number]
      return client.reply({ sessionId, messageId, askId: asks[index] as string, content: 'me' })
    }
    const waits = tasks.slice(0, 10).map(async (_, index) => {
      await pause(index * 20)
      return answer(index)
    })
    await pause(300)
    const times = [10, 11].map((index) => tookMs(answer(index)))
    expect(Math.max(...(await Promise.all(times)))).toBeLessThan(pausedMs - 500)
    await Promise.all(waits)
    const ends = await Promise.all(tasks.map(({ sessionId, messageId }) => client.result({ sessionId, messageId })))
    expect(ends).toMatchObject(tasks.map(() => ({ status: 'COMPLETED', data: 'me' })))
  }, 30_000)

  test('tasks that are cancelled and whose capabilities nobody offers leave nothing on their streams', async () => {
    const { client, bare, keys } = house
    const tasks = Array.from({ length: 40 }, (_, i) => ({ sessionId: `s-${i % 7}`, messageId: `cancelled-${i}` }))
    const agents = tasks.map((_, i) => `absent_${i % 5}`)
    await Promise.all(
      tasks.map((ref, i) => client.sendMessage({ ...ref, targetAgentType: agents[i] as string, content: 'x' })),
    )
    const cancelled = await Promise.all(tasks.map((ref) => client.cancelTask(ref)))
    expect(cancelled).toMatchObject(tasks.map(() => ({ status: 'CANCELLED' })))
    const left = await Promise.all([...new Set(agents)].map((name) => bare.exists(keys.control(name))))
    expect(Math.max(...left)).toBe(0)
    const ttls = await Promise.all(tasks.map(({ sessionId, messageId }) => bare.pttl(keys.task(sessionId, messageId))))
    expect(Math.min(...ttls)).toBeGreaterThan(0)
  })

  test('tasks that expire and whose capabilities nobody offers leave nothing on their streams', async () => {
    const { client, bare, keys } = house
    const tasks = Array.from({ length: 40 }, (_, i) => ({ sessionId: `s-${i % 7}`, messageId: `late-${i}` }))
    const agents = tasks.map((_, i) => `nobody_${i % 5}`)
    await Promise.all(
      tasks.map((ref, i) =>
        client.sendMessage({ ...ref, targetAgentType: agents[i] as string, content: 'x', expiresInMs: 500 }),
      ),
    )
    expect(await Promise.all(tasks.map((ref) => client.result(ref)))).toMatchObject(
      tasks.map(() => ({ status: 'EXPIRED' })),
    )
    for (const name of new Set(agents)) {
      await waitFor(async () => (await bare.exists(keys.control(name))) === 0, { message: `${name} to be gone` })
    }
    const ttls = () => Promise.all(tasks.map(({ sessionId, messageId }) => bare.pttl(keys.task(sessionId, messageId))))
    await waitFor(async () => Math.min(...(await ttls())) > 0, { message: 'all records to have a time to live' })
  })

  test('a delayed task that is cancelled between the two writes of its send leaves nothing behind', async () => {
    const { client, bare, keys } = house
    const ref = { sessionId: 's', messageId: 'cut-short' }
    const spy = vi.spyOn(Agenda.prototype, 'add').mockImplementationOnce(async function (this: Agenda, items) {
      expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
      return this.add(items)
    })
    onTestFinished(() => spy.mockRestore())
    await client.sendMessage({ ...ref, targetAgentType: 'agent_3', content: 'x', delayMs: 3_600_000 })
    expect(spy).toHaveBeenCalledTimes(2)
    expect(await bare.pttl(keys.task('s', 'cut-short'))).toBeGreaterThan(0)
    const noted = await Promise.all([0, 1, 2, 3].map((shard) => bare.zrange(keys.agenda(shard).due, '0', '-1')))
    expect(noted.flat().filter((member) => member.includes('cut-short'))).toEqual([])
  })

  test('a delayed task of which its sender could write the record alone, and that is cancelled, leaves nothing behind', async () => {
    const { client, bare, keys } = house
    const ref = { sessionId: 's', messageId: 'half-sent' }
    const request = { ...ref, targetAgentType: 'agent_3', content: 'x', delayMs: 3_600_000 }
    const spy = vi.spyOn(Agenda.prototype, 'add').mockRejectedValueOnce(new Error('OOM command not allowed'))
    onTestFinished(() => spy.mockRestore())
    await expect(client.sendMessage(request)).rejects.toMatchObject({ code: 'GW_REDIS_FAILED' })
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    expect(await bare.pttl(keys.task('s', 'half-sent'))).toBeGreaterThan(0)
    expect(await client.sendMessage(request)).toMatchObject({ status: 'QUEUED' })
    expect(await client.getTask(ref)).toMatchObject({ status: 'CANCELLED' })
  })

  test('a task that is cancelled while the making of its record is repeated leaves no record for ever', async () => {
    gate = deferred()
    const { client, bare, keys, close } = await open(undefined, 1)
    onTestFinished(close)
    onTestFinished(() => gate.resolve())
    await client.sendMessage({ targetAgentType: 'agent_3', sessionId: 'other', content: 'wait' })
    await waitFor(async () => (await client.listTasks({ sessionId: 'other' })).some(isRunning))
    const ref = { sessionId: 's', messageId: 'made-twice' }
    const spy = vi.spyOn(TaskRecords.prototype, 'admit').mockImplementationOnce(async function (
      this: TaskRecords,
      all,
    ) {
      await this.admit(all)
      expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
      return this.admit(all)
    })
    onTestFinished(() => spy.mockRestore())
    await client.sendMessage({ ...ref, targetAgentType: 'agent_3', content: 'x' })
    expect(spy).toHaveBeenCalledTimes(3)
    gate.resolve()
    const ttl = () => bare.pttl(keys.task('s', 'made-twice'))
    await waitFor(async () => (await ttl()) > 0, { message: 'its record to have a time to live' })
  })

  test('a worker stops in good time', async () => {
    const { worker, client, close } = await open()
    onTestFinished(close)
    await client.ask({ targetAgentType: 'agent_1', sessionId: 's', content: 'x' })
    await pause(100)
    const before = performance.now()
    await worker.stop()
    expect(performance.now() - before).toBeLessThan(2_000)
    expect(await client.listWorkers()).toEqual([])
  })

  test('through a Cluster client of the caller’s, which stays open', async () => {
    const cluster = new Cluster(nodes)
    onTestFinished(() => cluster.disconnect())
    await cluster.ping()
    const { client, worker, close } = await open(cluster)
    onTestFinished(close)
    expect(await client.ask({ targetAgentType: 'agent_2', sessionId: 's', content: 'x' })).toMatchObject({ data: 'x' })
    await client.close()
    await worker.stop()
    expect(await cluster.ping()).toBe('PONG')
  })

  test.each<[string, ClusterOptions]>([
    ['no offline queue', { enableOfflineQueue: false }],
    ['auto-pipelining', { enableAutoPipelining: true }],
  ])('which may have %s', { timeout: 20_000 }, async (_what, options) => {
    const cluster = new Cluster(nodes, options)
    onTestFinished(() => cluster.disconnect())
    const { client, close } = await open(cluster)
    onTestFinished(close)
    for (const targetAgentType of names.slice(0, 3)) {
      const request = { targetAgentType, sessionId: 's', content: 'x', timeoutMs: 5_000 }
      expect(await client.ask(request)).toMatchObject({ data: 'x' })
    }
  })

  test('one that cannot be reached is told within the time', async () => {
    const options = { logger: memoryLogger(), worker: new FunctionWorker(['agent'], () => null), connectTimeoutMs: 500 }
    const before = performance.now()
    await expect(runWorker({ ...options, redis: { cluster: [{ host: '127.0.0.1', port: 1 }] } })).rejects.toMatchObject(
      {
        ...{ code: 'GW_REDIS_UNREACHABLE', message: expect.stringContaining('cluster 127.0.0.1:1') },
      },
    )
    expect(performance.now() - before).toBeLessThan(3_000)
  })
})
