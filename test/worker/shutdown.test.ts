import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { MOST_TIMER_MS } from '../../src/util/timer.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { FunctionWorker, Gate, House } from './harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

// ioredis keeps a timer of 2 s for each connection that is closed while its server is away.
afterAll(() => pause(1_000))

describe.concurrent('stop', () => {
  test('of an idle worker takes no time, and is the same however often it is called', async () => {
    const house = new House()
    const worker = await house.work(() => null, { shutdownTimeoutMs: 30_000 })
    await pause(50)
    const before = performance.now()
    await Promise.all([worker.stop(), worker.stop(), worker.stopped])
    await worker.stop()
    expect(performance.now() - before).toBeLessThan(1_000)
  })

  test('right after the start, too', async () => {
    const house = new House()
    for (let round = 0; round < 10; round += 1) {
      const worker = await house.work(() => null, { workerId: 'w', shutdownTimeoutMs: 30_000 })
      await worker.stop()
    }
  })

  test('waits for what runs also where it may take as long as a timer can wait', async () => {
    const house = new House()
    const gate = new Gate()
    const worker = await house.work(() => gate.pass(), { shutdownTimeoutMs: MOST_TIMER_MS })
    await house.client().sendMessage({ ...send, messageId: 'm' })
    await gate.reached(1)
    const stop = worker.stop()
    await pause(100)
    gate.open()
    await stop
    expect(house.logger.lines.filter(({ level }) => level === 'error')).toEqual([])
    expect(await house.dones('s', 'm')).toMatchObject([{ data: { status: 'COMPLETED' } }])
  })

  test('lets running tasks finish, takes nothing new, and leaves the rest to others', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    const worker = await house.work(
      async (command, context) => {
        await gate.pass()
        await context.emitChunk('last words')
        return `first ${command.content}`
      },
      { maxConcurrency: 3, shutdownTimeoutMs: 30_000, workerId: 'w-1' },
    )
    const sent = Array.from({ length: 20 }, (_, i) =>
      client.sendMessage({ ...send, messageId: `m-${i}`, content: `${i}` }),
    )
    await Promise.all(sent)
    await gate.reached(3)
    let stopped = false
    const stop = worker.stop().then(() => {
      stopped = true
    })
    await pause(100)
    expect(stopped).toBe(false)
    expect(worker.running).toBe(3)
    // It stays on the list while it still works.
    expect((await client.listWorkers()).map(({ workerId }) => workerId)).toEqual(['w-1'])
    gate.open()
    await stop
    expect(gate.arrived).toBe(3)
    expect(await house.pending()).toBe(0)
    expect(await house.waiting()).toBe(17)
    expect(await client.listWorkers()).toEqual([])
    const by: string[] = []
    await house.work((command) => by.push(String(command.content)), { workerId: 'w-2' })
    const ends = await Promise.all(
      Array.from({ length: 20 }, (_, i) => client.result({ sessionId: 's', messageId: `m-${i}` })),
    )
    expect(ends.slice(0, 3).map(({ data, content }) => [data, content])).toEqual([
      ...[
        ['first 0', 'first 0'],
        ['first 1', 'first 1'],
        ['first 2', 'first 2'],
      ],
    ])
    expect(by).toHaveLength(17)
    for (let i = 0; i < 20; i += 1) expect(await house.dones('s', `m-${i}`)).toHaveLength(1)
  })

  test('under load: what was fetched but not begun goes back at once; nothing is lost, nothing runs twice', {
    timeout: 60_000,
  }, async () => {
    const house = new House()
    const client = house.client()
    const ran: string[] = []
    const handle = async (command: { content: unknown }) => {
      await pause(Math.random() * 3)
      ran.push(String(command.content))
    }
    const total = 600
    const sending = (async () => {
      for (let i = 0; i < total; i += 20) {
        await Promise.all(
          Array.from({ length: 20 }, (_, j) =>
            client.sendMessage({ ...send, messageId: `m-${i + j}`, content: `${i + j}` }),
          ),
        )
        await pause(1)
      }
    })()
    // Rolling restarts: a worker under a new id every few tens of milliseconds.
    for (let round = 0; ran.length < total && round < 30; round += 1) {
      const worker = await house.work(handle, { workerId: `w-${round}`, maxConcurrency: 8, shutdownTimeoutMs: 10_000 })
      await pause(5 + Math.random() * 40)
      await worker.stop()
      expect(await house.pending()).toBe(0)
    }
    await sending
    await house.work(handle, { workerId: 'last' })
    await waitFor(() => ran.length >= total, { timeoutMs: 10_000, message: () => `${ran.length} of ${total}` })
    await house.settled()
    expect(ran).toHaveLength(total)
    expect(new Set(ran).size).toBe(total)
  })

  test('after its time aborts what still runs, with GW_SHUTDOWN, and says nothing of an end', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    onTestFinished(() => gate.open())
    const reasons: unknown[] = []
    const worker = await house.work(
      async (_command, context) => {
        context.signal.addEventListener('abort', () => reasons.push(context.signal.reason))
        await gate.pass()
      },
      { shutdownTimeoutMs: 100, workerId: 'w' },
    )
    const { messageId } = await client.sendMessage(send)
    await gate.reached(1)
    const before = performance.now()
    await worker.stop()
    expect(performance.now() - before).toBeGreaterThanOrEqual(95)
    expect(performance.now() - before).toBeLessThan(3_000)
    expect(reasons).toEqual([expect.objectContaining({ code: 'GW_SHUTDOWN' })])
    expect(await house.dones('s', messageId)).toEqual([])
    expect((await client.getTask({ sessionId: 's', messageId }))?.status).not.toMatch(
      /COMPLETED|FAILED|CANCELLED|EXPIRED/,
    )
    expect(await house.waiting()).toBe(1)
  })

  test('by `await using`', async () => {
    const house = new House()
    {
      await using worker = await house.work(() => null)
      expect(worker.capabilities).toEqual(['agent'])
    }
    expect(await house.client().listWorkers()).toEqual([])
  })

  test('ends also where Redis is away', { timeout: 40_000 }, async () => {
    const house = await House.private()
    const worker = await house.work(() => null, { shutdownTimeoutMs: 500 })
    await pause(50)
    house.server.kill('SIGKILL')
    const stop = worker.stop().then(() => 'stopped')
    const outcome = await Promise.race([stop, pause(8_000, 'hangs', { ref: false })])
    await house.server.restart()
    await stop
    expect(outcome).toBe('stopped')
  })

  test('ends also where Redis is away and a task runs, and then holds that task no more', {
    timeout: 40_000,
  }, async () => {
    const house = await House.private(['--appendonly', 'yes', '--appendfsync', 'always'])
    const gate = new Gate()
    onTestFinished(() => gate.open())
    const worker = await house.work(() => gate.pass(), { shutdownTimeoutMs: 300, leaseMs: 600, workerId: 'w-1' })
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    await gate.reached(1)
    house.server.kill('SIGKILL')
    const stop = worker.stop().then(() => 'stopped')
    const outcome = await Promise.race([stop, pause(8_000, 'hangs', { ref: false })])
    await house.server.restart()
    await stop
    expect(outcome).toBe('stopped')
    await house.work(() => 'taken over', { workerId: 'w-2', leaseMs: 600 })
    expect(await client.result({ sessionId: 's', messageId, timeoutMs: 5_000 })).toMatchObject({ data: 'taken over' })
    // On a busy machine a heartbeat may come later than so short a lease lasts.
    await waitFor(async () => (await client.listWorkers()).map(({ workerId }) => workerId).join() === 'w-2')
  })
})

test('a worker whose stop took too long gives no sign of life any more: its id is free after a lease', async () => {
  const house = new House()
  const hook = deferred()
  onTestFinished(() => hook.resolve())
  const plugin = {
    ...{ manifest: { pluginId: 'slow', version: '1.0.0', name: 'Slow' }, hookTimeoutMs: 60_000 },
    onWorkerShutdown: () => hook.promise,
  }
  const worker = await house.work(() => null, { workerId: 'w', leaseMs: 1_000, plugins: [plugin] })
  await worker.stop()
  await house.work(() => null, { workerId: 'w', leaseMs: 1_000 })
})

test('a signal stops the worker, and its listeners go with it', async () => {
  const house = new House()
  const before = process.listenerCount('SIGTERM') + process.listenerCount('SIGINT')
  const worker = await house.work(() => null, { handleSignals: true })
  expect(process.listenerCount('SIGTERM') + process.listenerCount('SIGINT')).toBe(before + 2)
  process.emit('SIGTERM')
  await worker.stopped
  expect(process.listenerCount('SIGTERM') + process.listenerCount('SIGINT')).toBe(before)
  const other = await house.work(() => null)
  expect(process.listenerCount('SIGTERM') + process.listenerCount('SIGINT')).toBe(before)
  await other.stop()
})

const PLUGIN = { pluginId: 'slow', version: '1.0.0', name: 'Slow' }

/** A worker that does something before it takes any task. */
class Slow extends FunctionWorker {
  readonly #onStartup: () => unknown

  constructor(onStartup: () => unknown) {
    super(['agent'], () => null)
    this.#onStartup = onStartup
  }

  override async onStartup(): Promise<void> {
    await this.#onStartup()
  }
}

describe('a signal in the middle of the start', () => {
  const starting = async (onStartup: (proxy: TcpProxy) => unknown) => {
    const house = new House()
    const proxy = await TcpProxy.start(Number(new URL(house.url).port))
    onTestFinished(() => proxy.stop())
    let isUnderway = false
    const worker = new Slow(async () => {
      isUnderway = true
      await onStartup(proxy)
    })
    const common = {
      keyPrefix: house.prefix,
      logger: house.logger,
      workerId: 'w',
      leaseMs: 1_000,
      shutdownTimeoutMs: 200,
    }
    const start = runWorker({ ...common, redis: proxy.url, worker, handleSignals: true })
    start.catch(() => undefined)
    await waitFor(() => isUnderway)
    return { house, start, before: performance.now(), listeners: process.listenerCount('SIGTERM') }
  }

  test('lets the start come to its end, and then stops', async () => {
    const startup = deferred()
    const { start, listeners } = await starting(() => startup.promise)
    process.emit('SIGTERM')
    startup.resolve()
    await (await start).stopped
    expect(process.listenerCount('SIGTERM')).toBe(listeners - 1)
  })

  test.each([
    ['its own start', {}],
    [
      'the start of a plugin',
      { plugins: [{ manifest: PLUGIN, onWorkerStartup: () => new Promise<void>(() => undefined) }] },
    ],
  ])('takes the worker off the list when %s hangs', async (_what, options) => {
    const house = new House()
    const isOnItsWay = deferred()
    const hang = () => {
      isOnItsWay.resolve()
      return 'plugins' in options ? undefined : new Promise(() => undefined)
    }
    const common = { keyPrefix: house.prefix, redis: house.url, logger: house.logger, workerId: 'w', leaseMs: 1_000 }
    const worker = new Slow(hang)
    const start = runWorker({ ...common, worker, shutdownTimeoutMs: 200, handleSignals: true, ...options })
    start.catch(() => undefined)
    await isOnItsWay.promise
    const client = house.client()
    expect(await client.listWorkers()).toHaveLength(1)
    process.emit('SIGTERM')
    await expect(start).rejects.toMatchObject({ code: 'GW_SHUTDOWN' })
    expect(await client.listWorkers()).toEqual([])
    expect(await house.redis.exists(house.keys.worker('w'))).toBe(0)
    // The sign of life that would have been next brings it back no more.
    await pause(500)
    expect(await house.redis.exists(house.keys.worker('w'))).toBe(0)
  })

  test.each([
    ['Redis goes dark', (proxy: TcpProxy) => void proxy.blackHole()],
    ['the worker hangs', () => new Promise(() => undefined)],
  ])('waits no longer than a stop may take when %s', async (_what, onStartup) => {
    const { house, start, before, listeners } = await starting(onStartup)
    process.emit('SIGTERM')
    await expect(start).rejects.toMatchObject({ code: 'GW_SHUTDOWN' })
    expect(performance.now() - before).toBeLessThan(5_200)
    expect(process.listenerCount('SIGTERM')).toBe(listeners - 1)
    // It gives no signs of life any more.
    await waitFor(async () => (await house.client().listWorkers()).length === 0)
  })
})
