import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { unhandledRejections } from '../support/rejections.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { startChild } from './child.ts'
import { Gate, House, watchedWay } from './harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

describe.concurrent('two workers with one id', () => {
  test('the second refuses to start, quickly, and the first goes on undisturbed', async () => {
    const house = new House()
    const client = house.client()
    const worker = await house.work(() => 'first', { workerId: 'w', leaseMs: 1_500 })
    const before = performance.now()
    await expect(house.work(() => 'second', { workerId: 'w', leaseMs: 1_500 })).rejects.toMatchObject({
      ...{ code: 'GW_WORKER_ID_TAKEN', message: expect.stringContaining(`pid ${process.pid}`) },
    })
    expect(performance.now() - before).toBeLessThan(3_000)
    expect(await client.ask(send)).toMatchObject({ data: 'first' })
    expect((await client.listWorkers()).map(({ workerId }) => workerId)).toEqual(['w'])
    expect(await house.redis.exists(house.keys.worker('w'))).toBe(1)
    // And it goes on giving signs of life.
    const seenAt = async () => Number(await house.redis.hget(house.keys.worker('w'), 'last_seen_at'))
    const seen = await seenAt()
    await waitFor(async () => (await seenAt()) > seen)
    await worker.stop()
    expect(await client.listWorkers()).toEqual([])
  })

  test('of several that start at once, one starts', async () => {
    const house = new House()
    const started = await Promise.allSettled(
      Array.from({ length: 4 }, (_, i) => house.work(() => i, { workerId: 'w' })),
    )
    expect(started.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected', 'rejected'])
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED' })
  })

  test('a failed start leaves no connection and no trace', async () => {
    const house = new House()
    const way = await TcpProxy.start(Number(new URL(house.url).port))
    onTestFinished(() => way.stop())
    await house.work(() => 'first', { workerId: 'w', leaseMs: 1_000 })
    const second = house.work(() => 'second', { workerId: 'w', leaseMs: 1_000, redis: way.url })
    await expect(second).rejects.toMatchObject({ code: 'GW_WORKER_ID_TAKEN' })
    expect(way.accepted).toBeGreaterThan(0)
    await waitFor(() => way.connections().length === 0, { message: 'the connections of the second to be closed' })
  })

  test('after the first has stopped, the next may have it at once', async () => {
    const house = new House()
    for (let round = 0; round < 3; round += 1) {
      const worker = await house.work(() => round, { workerId: 'w' })
      expect(await house.client().ask(send)).toMatchObject({ data: round })
      await worker.stop()
    }
  })
})

test('who has lost a connection takes up nothing that the next of its name was handed', async () => {
  const house = await House.private()
  const client = house.client()
  const begun: unknown[] = []
  // Its next sign of life, at which it would hear that its id is taken, is far off.
  const way = await watchedWay(house)
  const handle = (command: { content: unknown }) => void begun.push(command.content)
  await house.work(handle, { workerId: 'w', leaseMs: 60_000, redis: way.url })
  await client.ask(send)
  await way.isPulsing()
  await pause(100) // until it is answered
  await house.redis.hset(house.keys.worker('w'), 'incarnation', 'the next')
  const key = house.keys.control('agent')
  const stranger = { ...send, content: 'of the next', targetAgentType: 'elsewhere', requireOnlineWorker: false }
  await client.sendMessage(stranger)
  const [[, fields] = ['', []]] = await house.redis.xrange(house.keys.control('elsewhere'), '-', '+')
  await house.redis
    .multi()
    .xadd(key, '*', ...fields)
    .xreadgroup('GROUP', 'agent_engines', 'w', 'COUNT', 1, 'STREAMS', key, '>')
    .exec()
  await house.redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await client.ask({ ...send, content: 'new' })
  await client.ask({ ...send, content: 'newer' })
  await pause(300)
  expect(begun).toEqual(['hi', 'new', 'newer'])
  expect(await house.pending()).toBe(1)
})

test('who has to stop at once, because the next of its name is there, does not let go of what that one runs', async () => {
  const house = new House()
  const gate = new Gate()
  // It looks at its tasks less often than it gives a sign of life.
  const worker = await house.work(() => gate.pass(), { workerId: 'w', leaseMs: 4_000, shutdownTimeoutMs: 0 })
  await house.client().sendMessage({ ...send, messageId: 'm' })
  await gate.reached(1)
  const key = house.keys.control('agent')
  const [[id = ''] = []] = await house.redis.xrange(key, '-', '+')
  // As the next one does who finds it silent.
  await house.redis.hset(house.keys.worker('w'), 'incarnation', 'the next')
  await house.redis.xclaim(key, 'agent_engines', 'w', 0, id)
  await house.redis.hset(house.keys.task('s', 'm'), 'fence', `R:2:${id}:w`)
  await worker.stopped
  const [[, , idleMs = Number.POSITIVE_INFINITY] = []] = (await house.redis.xpending(
    ...([key, 'agent_engines', '-', '+', 1] as const),
  )) as [id: string, consumer: string, idleMs: number][]
  expect(idleMs).toBeLessThan(30_000)
  gate.open()
})

/** Runs a program as a container does: with process ids of its own, under the same host's name. */
const CONTAINER = ['unshare', '--user', '--map-root-user', '--pid', '--fork', '--kill-child', '--mount-proc']

function hasContainers(): boolean {
  const [program = '', ...args] = CONTAINER
  return spawnSync(program, [...args, 'true']).status === 0
}

describe.concurrent('a worker process', () => {
  test.runIf(hasContainers())(
    'that lives is not taken for dead by one in another container with the same host name',
    { timeout: 40_000 },
    async () => {
      const house = new House()
      await house.work(() => 'first', { workerId: 'w', leaseMs: 2_000 })
      await expect(startChild(house, 'w', 2_000, { under: CONTAINER })).rejects.toThrow('has ended with 1')
      expect(await house.client().ask(send)).toMatchObject({ data: 'first' })
    },
  )

  test('that was killed: its id is free at once for the next on this host', { timeout: 40_000 }, async () => {
    const house = new House()
    const { child } = await startChild(house, 'w', 30_000)
    expect(await house.client().ask(send)).toMatchObject({ data: `${child.pid}` })
    child.kill('SIGKILL')
    await once(child, 'exit')
    const before = performance.now()
    await house.work(() => 'next', { workerId: 'w', leaseMs: 30_000 })
    expect(performance.now() - before).toBeLessThan(2_000)
    expect(await house.client().ask(send)).toMatchObject({ data: 'next' })
  })

  test('that is frozen is not taken for dead at once, but after its lease', { timeout: 40_000 }, async () => {
    const house = new House()
    const { child } = await startChild(house, 'w', 1_500)
    child.kill('SIGSTOP')
    const before = performance.now()
    await house.work(() => 'next', { workerId: 'w', leaseMs: 1_500 })
    expect(performance.now() - before).toBeGreaterThan(500)
    expect(performance.now() - before).toBeLessThan(6_000)
    // The one that wakes up and finds its id taken stops by itself, and harms nobody.
    child.kill('SIGCONT')
    const [code] = await once(child, 'exit')
    expect(code).toBe(0)
    expect((await house.client().listWorkers()).map(({ pid }) => pid)).toEqual([process.pid])
    expect(await house.client().ask(send)).toMatchObject({ data: 'next' })
  })

  test('that wakes up under the name of the next does not take its task away', { timeout: 40_000 }, async () => {
    const house = new House()
    const { child, said } = await startChild(house, 'w', 800)
    const client = house.client()
    const { messageId } = await client.sendMessage({ ...send, content: 'hang' })
    await waitFor(() => said.includes('began hang'))
    child.kill('SIGSTOP')
    const gate = new Gate()
    await house.work(() => gate.pass(), { workerId: 'w', leaseMs: 800 })
    await gate.reached(1)
    await house.work(() => gate.pass(), { workerId: 'other', leaseMs: 800 })
    child.kill('SIGCONT')
    await waitFor(() => said.includes('stopped'), { timeoutMs: 15_000 })
    await pause(1_000)
    expect(gate.arrived).toBe(1)
    gate.open()
    const result = await client.result({ sessionId: 's', messageId, timeoutMs: 15_000 })
    expect(result).toMatchObject({ status: 'COMPLETED', attempts: 1 })
  })

  test('that wakes up and hears of a task that the next of its name runs leaves it alone', {
    timeout: 40_000,
  }, async () => {
    const house = new House()
    const { child, said } = await startChild(house, 'w', 800)
    const client = house.client()
    await pause(300) // until it waits for something to do
    child.kill('SIGSTOP')
    // Handed to its wait, of whose end it will hear when it wakes up.
    const { messageId } = await client.sendMessage({ ...send, content: 'hang' })
    const gate = new Gate()
    await house.work(() => gate.pass(), { workerId: 'w', leaseMs: 800 })
    await gate.reached(1)
    child.kill('SIGCONT')
    await waitFor(() => said.includes('stopped'), { timeoutMs: 15_000 })
    expect(said).not.toContain('began hang')
    gate.open()
    const result = await client.result({ sessionId: 's', messageId, timeoutMs: 15_000 })
    expect(result).toMatchObject({ status: 'COMPLETED' })
    expect(gate.arrived).toBe(1)
  })

  test('that computes for longer than its lease keeps its task and its id', { timeout: 40_000 }, async () => {
    const house = new House()
    // It computes for twice as long.
    const leaseMs = 1_500
    const { child, said } = await startChild(house, 'w-1', leaseMs)
    await waitFor(() => said.includes('has its thread'), { timeoutMs: 15_000 })
    const client = house.client()
    const { messageId } = await client.sendMessage({ ...send, content: 'block' })
    await waitFor(() => said.includes('began block'))
    // Others who could take it over, and one who wants its name.
    await house.work(() => 'stolen', { workerId: 'w-2', leaseMs })
    await expect(house.work(() => 'stolen', { workerId: 'w-1', leaseMs })).rejects.toMatchObject({
      code: 'GW_WORKER_ID_TAKEN',
    })
    const result = await client.result({ sessionId: 's', messageId, timeoutMs: 15_000 })
    expect(result).toMatchObject({ status: 'COMPLETED', data: `${child.pid}`, attempts: 1 })
    expect(said.filter((line) => line === 'began block')).toHaveLength(1)
  })

  test('that was busy for so long that others took what it was handed meanwhile leaves it to them', {
    timeout: 40_000,
  }, async () => {
    const house = new House()
    const { said } = await startChild(house, 'w-1', 800)
    await waitFor(() => said.includes('has its thread'), { timeoutMs: 15_000 })
    const client = house.client()
    const blocking = await client.sendMessage({ ...send, content: 'block later' })
    await waitFor(() => said.includes('blocks'))
    // Its read is out, so the server hands it these, and it hears of them three seconds later.
    const delayed = { ...send, content: 'second', expiresInMs: 60_000 }
    const second = await Promise.all([client.sendMessage({ ...send, content: 'second' }), client.sendMessage(delayed)])
    const other = new Gate()
    await house.work(() => other.pass().then(() => 'other'), { workerId: 'w-2', leaseMs: 800 })
    await other.reached(2)
    await client.result({ sessionId: 's', messageId: blocking.messageId, timeoutMs: 15_000 })
    // Time for the first to read what it was handed, while the other still runs it.
    await pause(500)
    other.open()
    for (const { messageId } of second) {
      const result = await client.result({ sessionId: 's', messageId, timeoutMs: 15_000 })
      expect(result).toMatchObject({ status: 'COMPLETED', data: 'other', attempts: 1 })
    }
    expect(said).not.toContain('began second')
  })

  test('ends by itself after SIGTERM, with its task done', { timeout: 40_000 }, async () => {
    const house = new House()
    const { child, said } = await startChild(house, 'w')
    const client = house.client()
    expect(await client.ask(send)).toMatchObject({ status: 'COMPLETED' })
    child.kill('SIGTERM')
    const [code] = await once(child, 'exit')
    expect(code).toBe(0)
    expect(said.at(-1)).toBe('stopped')
    expect(await client.listWorkers()).toEqual([])
  })
})

test('a worker whose hash has vanished (a flushed server) is listed again with all it is', async () => {
  const house = new House()
  const client = house.client()
  await house.work(() => null, { workerId: 'w', leaseMs: 150, maxConcurrency: 7 })
  // A heartbeat that is late by a lease of 150 ms takes the worker off the list until the next one.
  const listed = () =>
    waitFor(async () => {
      const workers = await client.listWorkers()
      return workers.length > 0 && workers
    })
  const [before] = await listed()
  await house.redis.del(house.keys.worker('w'), house.keys.workers(), house.keys.capability('agent'))
  const [after] = await listed()
  expect({ ...after, lastSeenAt: 0 }).toEqual({ ...before, lastSeenAt: 0 })
})

test('a worker that ended without a word disappears from the lists after its time', async () => {
  const house = new House()
  const { child } = await startChild(house, 'w', 1_000)
  const client = house.client()
  await waitFor(async () => (await client.listWorkers()).length === 1)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await waitFor(async () => (await client.listWorkers()).length === 0)
  expect(await client.sendMessage({ ...send, requireOnlineWorker: true })).toMatchObject({ status: 'NO_WORKER' })
  await waitFor(async () => (await house.redis.exists(house.keys.worker('w'))) === 0)
})

test.each([
  ['where the source runs without a build', (url: string) => url],
  ['where the worker was given a Redis client', (url: string) => new Redis(url, { lazyConnect: true })],
])('signs of life and leases come from a thread of their own, also %s', async (_where, redisOf) => {
  const house = new House()
  const way = await watchedWay(house)
  await house.work(() => null, { workerId: 'w', leaseMs: 800, redis: redisOf(way.url) })
  await way.isPulsing()
  expect(house.logger.lines.filter(({ message }) => message.includes('main thread'))).toEqual([])
})

test('onStartup comes before the first task, onShutdown after the last; a start that fails there leaves nothing', async () => {
  const house = new House()
  const client = house.client()
  const { FunctionWorker } = await import('./harness.ts')
  const { runWorker } = await import('../../src/worker/run-worker.ts')
  const told: string[] = []
  const gate = new Gate()
  const agent = new FunctionWorker(['agent'], async () => {
    told.push('task begins')
    await gate.pass()
    told.push('task ends')
  })
  agent.onStartup = async () => {
    await pause(20)
    told.push('startup')
  }
  agent.onShutdown = () => void told.push('shutdown')
  const options = { redis: house.url, keyPrefix: house.prefix, logger: house.logger, worker: agent, workerId: 'w' }
  await client.sendMessage(send)
  const worker = await runWorker(options)
  await gate.reached(1)
  const stopped = worker.stop()
  gate.open()
  await stopped
  expect(told).toEqual(['startup', 'task begins', 'task ends', 'shutdown'])
  agent.onStartup = () => {
    throw new Error('no licence')
  }
  await expect(runWorker(options)).rejects.toThrow('no licence')
  expect(await client.listWorkers()).toEqual([])
})

test('what onStartup has opened onShutdown may close, also where the start fails between them and what comes last', async () => {
  const house = new House()
  const { FunctionWorker } = await import('./harness.ts')
  const { runWorker } = await import('../../src/worker/run-worker.ts')
  const agent = new FunctionWorker(['agent'], () => null)
  const told: string[] = []
  agent.onStartup = () => void told.push('startup')
  agent.onShutdown = () => void told.push('shutdown')
  const common = { keyPrefix: house.prefix, redis: house.url, logger: house.logger, worker: agent }
  // Not a stream: what is to read tasks cannot start.
  await house.redis.set(house.keys.control('agent', 'normal'), 'in the way')
  await expect(runWorker({ ...common, workerId: 'w' })).rejects.toThrow('WRONGTYPE')
  expect(told).toEqual(['startup', 'shutdown'])
  agent.onShutdown = () => {
    throw new Error('no goodbye')
  }
  await expect(runWorker({ ...common, workerId: 'w' })).rejects.toThrow('WRONGTYPE')
  expect(house.logger.lines.filter(({ level }) => level === 'error')).toMatchObject([
    { fields: { reason: 'no goodbye' } },
  ])
})

test('a worker whose id was taken over and whose onShutdown fails ends no process', async () => {
  const house = new House()
  const { FunctionWorker } = await import('./harness.ts')
  const { runWorker } = await import('../../src/worker/run-worker.ts')
  const rejections = unhandledRejections()
  const agent = new FunctionWorker(['agent'], () => null)
  agent.onShutdown = () => {
    throw new Error('no goodbye')
  }
  const options = { redis: house.url, keyPrefix: house.prefix, logger: house.logger, worker: agent }
  const worker = await runWorker({ ...options, workerId: 'w', leaseMs: 600 })
  await house.redis.hset(house.keys.worker('w'), 'incarnation', 'the next')
  await worker.stopped
  await pause(50)
  expect(rejections).toEqual([])
  expect(house.logger.lines.filter(({ message }) => message === 'the stop failed')).toMatchObject([
    { level: 'error', fields: { reason: 'no goodbye', workerId: 'w' } },
  ])
})
