import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import type { TakenEntry } from '../../src/store/control-streams.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { Ahead } from '../../src/worker/ahead.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { House, type WorkOptions } from './harness.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const entry = (id: string) => ({ id, begun: 1 }) as unknown as TakenEntry

/** One whose tasks end at a steady rate, and whose reads take so long. */
function paced(options: { perMs: number; readMs: number; leaseMs?: number; taskMs?: number }) {
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const ahead = new Ahead(options.leaseMs ?? 5_000)
  ahead.noteRead(options.readMs)
  const spanMs = 1_000
  for (let count = 0; count < options.perMs * spanMs; count += 1) ahead.noteEnd(options.taskMs ?? 0.1)
  vi.advanceTimersByTime(spanMs)
  return ahead
}

describe('how many may wait ahead', () => {
  test.each([
    { what: 'what ends in 2 ms, near the server', perMs: 20, readMs: 0.2, allowance: 40 },
    { what: 'what ends in the time of four reads, far from it', perMs: 20, readMs: 3, allowance: 240 },
    { what: 'no more than 500', perMs: 40, readMs: 20, allowance: 500 },
    { what: 'no more than ends in a tenth of a lease', perMs: 1, readMs: 100, leaseMs: 500, allowance: 50 },
    { what: 'none where few end', perMs: 0.4, readMs: 0.2, allowance: 0 },
    { what: 'none where tasks are long, however many end', perMs: 20, readMs: 0.2, taskMs: 3, allowance: 0 },
  ])('$what', ({ allowance, ...pace }) => {
    expect(paced(pace).allowance()).toBe(allowance)
  })

  test('none before a task has ended', () => {
    expect(new Ahead(5_000).allowance()).toBe(0)
  })

  test('none any more once tasks take long', () => {
    const ahead = paced({ perMs: 20, readMs: 0.2 })
    expect(ahead.allowance()).toBe(40)
    vi.advanceTimersByTime(1_000)
    ahead.noteEnd(1_000)
    expect(ahead.allowance()).toBe(0)
  })

  test('a slow read among quick ones says nothing, and many do', () => {
    const ahead = paced({ perMs: 1, readMs: 0.5 })
    ahead.noteRead(20)
    expect(ahead.reachMs).toBeCloseTo(2.1)
    for (let count = 0; count < 100; count += 1) ahead.noteRead(20)
    expect(ahead.reachMs).toBe(80)
  })
})

test('those that wait go in their order, and what was said of them can be taken back', () => {
  const ahead = new Ahead(5_000)
  ahead.add([entry('1'), entry('2')])
  ahead.add([entry('3')])
  ahead.askAgain()
  expect(ahead.next(2).map(({ id, begun }) => [id, begun])).toEqual([
    ['1', undefined],
    ['2', undefined],
  ])
  expect(ahead.next(-1)).toEqual([])
  expect(ahead.first?.id).toBe('3')
  expect(ahead.size).toBe(1)
})

const TASKS = 600
/** One in so many tasks looks whether others wait ahead by now: it is the one that takes long if they do. */
const LOOK_EVERY = 25
const GROUP = 'agent_engines'

/** So many tasks, all sent before anybody takes them. */
async function sent() {
  const house = new House()
  const client = house.client()
  const send = (index: number) =>
    client.sendMessage({
      targetAgentType: 'agent',
      ...{ sessionId: `s-${index % 10}`, messageId: `m-${index}`, content: `${index}` },
    })
  for (let first = 0; first < TASKS; first += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, at) => send(first + at)))
  }
  return { house, client }
}

/** The tasks are short, and all of them were sent; one with others ahead of it takes as long as it is let, and has begun. */
async function midway(options: WorkOptions = {}) {
  const { house, client } = await sent()
  const [reached, open] = [deferred<number>(), deferred()]
  onTestFinished(() => open.resolve())
  const ran: number[] = []
  let isReached = false
  const handle = async (content: unknown) => {
    ran.push(Number(content))
    if (isReached || Number(content) % LOOK_EVERY > 0 || (await house.pending()) < 2) return
    isReached = true
    reached.resolve(Number(content))
    await open.promise
  }
  const worker = await house.work((command) => handle(command.content), {
    maxConcurrency: 1,
    shutdownTimeoutMs: 20_000,
    ...options,
  })
  return { house, client, worker, handle, ran, open, long: await reached.promise }
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

/**
 * The same worker in a process of its own, whose long task is told in a text; what it runs goes to `ran`. Its first task waits
 * until its leases are kept by its thread. Resolves when the long task has begun.
 */
async function start(house: House, { leaseMs, long }: { leaseMs: number; long: string }, ran: number[] = []) {
  const program = `
    import { Redis } from 'ioredis'
    import { GatewayWorker, runWorker } from 'byclaw-gateway-sdk'
    const kept = new Promise((resolve) => {
      process.on('worker', (thread) => thread.on('message', ({ kind }) => kind === 'ready' && resolve()))
    })
    const redis = new Redis(${JSON.stringify(house.url)})
    const isAhead = async () => (await redis.xpending('${house.keys.control('agent')}', '${GROUP}'))[0] > 1
    const now = () => performance.now()
    let isReached = false
    class Agent extends GatewayWorker {
      getCapabilities() { return ['agent'] }
      async processCommand({ content }) {
        console.log(content)
        if (content === '0') await kept
        if (isReached || Number(content) % ${LOOK_EVERY} > 0 || !(await isAhead())) return
        isReached = true
        console.log('long')
        ${long}
      }
    }
    const quiet = () => undefined
    const logger = { debug: quiet, info: quiet, warn: quiet, error: quiet, child: () => logger }
    const at = { redis: ${JSON.stringify(house.url)}, keyPrefix: ${JSON.stringify(house.prefix)} }
    await runWorker({ ...at, workerClass: Agent, workerId: 'w', leaseMs: ${leaseMs}, maxConcurrency: 1, logger })
  `
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { cwd: ROOT })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const reached = deferred<number>()
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line === 'long') reached.resolve(ran.at(-1) as number)
    else ran.push(Number(line))
  })
  return { child, ran, long: await reached.promise }
}

describe('a worker of short tasks with one slot', () => {
  test('takes tasks ahead of it, runs one at a time, and in the order in which they were sent', async () => {
    const house = new House()
    const client = house.client()
    let [running, most, mostPending, ran] = [0, 0, 0, [] as number[]]
    for (let first = 0; first < 1_000; first += 100) {
      const send = (index: number) =>
        client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: `${first + index}` })
      await Promise.all(upTo(100).map(send))
    }
    await house.work(
      async (command) => {
        running += 1
        most = Math.max(most, running)
        ran.push(Number(command.content))
        if (ran.length % LOOK_EVERY === 0) mostPending = Math.max(mostPending, await house.pending())
        else await Promise.resolve()
        running -= 1
      },
      { maxConcurrency: 1 },
    )
    await waitFor(() => ran.length >= 1_000, { timeoutMs: 30_000 })
    await house.settled()
    expect(ran).toEqual(upTo(1_000))
    expect(most).toBe(1)
    expect(mostPending).toBeGreaterThan(1)
  })

  test('lets go of those that wait behind a long one: others run them, each once', async () => {
    const { house, handle, ran, open, long } = await midway()
    await house.work((command) => handle(command.content), { maxConcurrency: 1, workerId: 'other' })
    await waitFor(() => ran.length === TASKS, { timeoutMs: 30_000 })
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(TASKS))
    expect(await house.pending()).toBe(1)
    open.resolve()
    await house.settled()
    expect(ran.slice(0, long + 1)).toEqual(upTo(long + 1))
  })

  test('goes on with them itself when the long one is over', async () => {
    const { house, ran, open } = await midway()
    // Longer than those that wait behind it have patience.
    await pause(150)
    open.resolve()
    await waitFor(() => ran.length === TASKS, { timeoutMs: 30_000 })
    await house.settled()
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(TASKS))
  })

  test('never starts one that was cancelled while it waited', async () => {
    const { house, client, ran, open, long } = await midway()
    const cancelled = [1, 2, 3].map((next) => ({
      sessionId: `s-${(long + next) % 10}`,
      messageId: `m-${long + next}`,
    }))
    await Promise.all(cancelled.map((task) => client.cancelTask(task)))
    open.resolve()
    const results = await Promise.all(cancelled.map((task) => client.result(task)))
    expect(results.map(({ status }) => status)).toEqual(['CANCELLED', 'CANCELLED', 'CANCELLED'])
    await waitFor(() => ran.length === TASKS - 3, { timeoutMs: 30_000 })
    await house.settled()
    const left = upTo(TASKS).filter((index) => index <= long || index > long + 3)
    expect([...ran].sort((a, b) => a - b)).toEqual(left)
  })

  test('leaves those that it let go as if nobody had taken them: a cancel ends one at once, and no delivery counts', async () => {
    const { house, client, ran, open, long } = await midway({ maxDeliveries: 1 })
    const next = { sessionId: `s-${(long + 1) % 10}`, messageId: `m-${long + 1}` }
    const fence = () => house.redis.hget(house.keys.task(next.sessionId, next.messageId), 'fence')
    await waitFor(async () => (await fence()) === 'Q:0::')
    expect(await client.cancelTask(next)).toMatchObject({ status: 'CANCELLED' })
    expect(await client.result(next)).toMatchObject({ status: 'CANCELLED' })
    open.resolve()
    await waitFor(() => ran.length === TASKS - 1, { timeoutMs: 30_000 })
    await house.settled()
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(TASKS).filter((index) => index !== long + 1))
  })

  test('lets go of them also where others are cancelled all the time', async () => {
    const { house, client, handle, ran, open, long } = await midway()
    const cancelled = new Set<number>()
    const timer = setInterval(() => {
      const index = long + 1 + (cancelled.size % 3)
      cancelled.add(index)
      void client.cancelTask({ sessionId: `s-${index % 10}`, messageId: `m-${index}` })
    }, 15)
    onTestFinished(() => clearInterval(timer))
    await house.work((command) => handle(command.content), { maxConcurrency: 1, workerId: 'other' })
    await waitFor(async () => (await house.pending()) === 1 && ran.length > TASKS - 10, { timeoutMs: 30_000 })
    open.resolve()
  })

  test('runs each once also where the group is made anew meanwhile and hands them out again', async () => {
    const { house, ran, open } = await midway()
    const stream = house.keys.control('agent')
    await house.redis
      .multi()
      .xgroup('DESTROY', stream, 'agent_engines')
      .xgroup('CREATE', stream, 'agent_engines', '0')
      .exec()
    open.resolve()
    await waitFor(() => ran.length >= TASKS, { timeoutMs: 30_000 })
    await house.settled()
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(TASKS))
  })

  test('hands them over when it stops', async () => {
    const { house, worker, handle, ran, open } = await midway()
    const stopped = worker.stop()
    await house.work((command) => handle(command.content), { maxConcurrency: 1, workerId: 'other' })
    await waitFor(() => ran.length >= TASKS, { timeoutMs: 30_000 })
    open.resolve()
    await stopped
    await house.settled()
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(TASKS))
  })
})

describe.concurrent('a process that is such a worker', () => {
  test('and whose long task blocks the event loop: others run those that wait, within a lease, each once', async () => {
    const { house } = await sent()
    const { ran } = await start(house, { leaseMs: 500, long: `for (const until = now() + 3_000; now() < until; );` })
    const began = performance.now()
    await house.work((command) => ran.push(Number(command.content)), { leaseMs: 500 })
    await waitFor(() => ran.length === TASKS, { timeoutMs: 30_000 })
    expect(performance.now() - began).toBeLessThan(2_900)
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(TASKS))
    await house.settled()
    expect(ran).toHaveLength(TASKS)
  })

  test('and is blocked by a long task starts none that was cancelled meanwhile', async () => {
    const { house, client } = await sent()
    const { ran, long } = await start(house, {
      leaseMs: 5_000,
      long: `for (const until = now() + 1_000; now() < until; );`,
    })
    const cancelled = upTo(10).map((index) => long + 1 + index)
    await Promise.all(
      cancelled.map((index) => client.cancelTask({ sessionId: `s-${index % 10}`, messageId: `m-${index}` })),
    )
    expect(ran.at(-1)).toBe(long)
    await waitFor(() => ran.length >= TASKS - cancelled.length, { timeoutMs: 30_000 })
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(TASKS).filter((index) => !cancelled.includes(index)))
  })

  test('and is stopped while another takes its name leaves alone what runs there', async () => {
    const { house } = await sent()
    const { child, long } = await start(house, {
      leaseMs: 500,
      long: 'await new Promise((resolve) => setTimeout(resolve, 60_000))',
    })
    // Its patience is about to end.
    await pause(45)
    child.kill('SIGSTOP')
    await pause(1_500)
    const open = deferred()
    onTestFinished(() => open.resolve())
    const starts: number[] = []
    const handle = async (command: { content: unknown }) => {
      starts.push(Number(command.content))
      await open.promise
    }
    await house.work(handle, { workerId: 'w', maxConcurrency: 200, leaseMs: 500 })
    await house.work(handle, { workerId: 'other', maxConcurrency: 1_000, leaseMs: 500 })
    await waitFor(() => starts.length >= TASKS - long, { timeoutMs: 30_000 })
    child.kill('SIGCONT')
    await pause(1_500)
    expect([...starts].sort((a, b) => a - b)).toEqual(upTo(TASKS).slice(long))
  })
})
