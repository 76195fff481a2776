import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { TakenEntry } from '../../src/store/control-streams.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { Ahead } from '../../src/worker/ahead.ts'
import { House } from './harness.ts'

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
    expect(paced(pace).allowance).toBe(allowance)
  })

  test('none before a task has ended', () => {
    expect(new Ahead(5_000).allowance).toBe(0)
  })

  test('none any more once tasks take long', () => {
    const ahead = paced({ perMs: 20, readMs: 0.2 })
    expect(ahead.allowance).toBe(40)
    vi.advanceTimersByTime(1_000)
    ahead.noteEnd(1_000)
    expect(ahead.allowance).toBe(0)
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

/** So many short tasks, all sent before anybody takes them; the one in the middle takes as long as it is let. */
async function midway() {
  const tasks = 1_500
  const house = new House()
  const client = house.client()
  const long = tasks / 2
  const send = (index: number) =>
    client.sendMessage({
      targetAgentType: 'agent',
      ...{ sessionId: `s-${index % 10}`, messageId: `m-${index}`, content: `${index}` },
    })
  for (let first = 0; first < tasks; first += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, at) => send(first + at)))
  }
  const [reached, open] = [deferred(), deferred()]
  onTestFinished(() => open.resolve())
  const ran: number[] = []
  const handle = async (content: unknown) => {
    ran.push(Number(content))
    if (Number(content) !== long) return
    reached.resolve()
    await open.promise
  }
  const worker = await house.work((command) => handle(command.content), {
    maxConcurrency: 1,
    shutdownTimeoutMs: 20_000,
  })
  await reached.promise
  return { house, client, worker, handle, ran, long, open, tasks }
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

describe('a worker of short tasks with one slot', () => {
  test('takes tasks ahead of it, runs one at a time, and in the order in which they were sent', async () => {
    const house = new House()
    const client = house.client()
    let [running, most, mostPending, ran] = [0, 0, 0, [] as number[]]
    for (let first = 0; first < 2_000; first += 100) {
      const send = (index: number) =>
        client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: `${first + index}` })
      await Promise.all(upTo(100).map(send))
    }
    await house.work(
      async (command) => {
        running += 1
        most = Math.max(most, running)
        ran.push(Number(command.content))
        if (ran.length % 50 === 0) mostPending = Math.max(mostPending, await house.pending())
        else await Promise.resolve()
        running -= 1
      },
      { maxConcurrency: 1 },
    )
    await waitFor(() => ran.length >= 2_000, { timeoutMs: 10_000 })
    await house.settled()
    expect(ran).toEqual(upTo(2_000))
    expect(most).toBe(1)
    expect(mostPending).toBeGreaterThan(1)
  })

  test('lets go of those that wait behind a long one: others run them, each once', async () => {
    const { house, handle, ran, long, open, tasks } = await midway()
    expect(await house.pending()).toBeGreaterThan(1)
    await house.work((command) => handle(command.content), { maxConcurrency: 1, workerId: 'other' })
    await waitFor(() => ran.length === tasks, { timeoutMs: 10_000 })
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(tasks))
    expect(await house.pending()).toBe(1)
    open.resolve()
    await house.settled()
    expect(ran.slice(0, long + 1)).toEqual(upTo(long + 1))
  })

  test('goes on with them itself when the long one is over, in their order', async () => {
    const { house, ran, open, tasks } = await midway()
    await waitFor(() => house.logger.lines.length > 0)
    await new Promise((resolve) => setTimeout(resolve, 150))
    open.resolve()
    await waitFor(() => ran.length === tasks, { timeoutMs: 10_000 })
    await house.settled()
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(tasks))
  })

  test('never starts one that was cancelled while it waited', async () => {
    const { house, client, ran, long, open, tasks } = await midway()
    const cancelled = [1, 2, 3].map((next) => ({
      sessionId: `s-${(long + next) % 10}`,
      messageId: `m-${long + next}`,
    }))
    await Promise.all(cancelled.map((task) => client.cancelTask(task)))
    open.resolve()
    const results = await Promise.all(cancelled.map((task) => client.result(task)))
    expect(results.map(({ status }) => status)).toEqual(['CANCELLED', 'CANCELLED', 'CANCELLED'])
    await waitFor(() => ran.length === tasks - 3, { timeoutMs: 10_000 })
    await house.settled()
    expect(ran).toEqual(upTo(tasks).filter((index) => index <= long || index > long + 3))
  })

  test('runs each once also where the group is made anew meanwhile and hands them out again', async () => {
    const { house, ran, open, tasks } = await midway()
    const stream = house.keys.control('agent')
    await house.redis
      .multi()
      .xgroup('DESTROY', stream, 'agent_engines')
      .xgroup('CREATE', stream, 'agent_engines', '0')
      .exec()
    open.resolve()
    await waitFor(() => ran.length >= tasks, { timeoutMs: 10_000 })
    await house.settled()
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(tasks))
  })

  test('hands them over when it stops', async () => {
    const { house, worker, handle, ran, open, tasks } = await midway()
    const stopped = worker.stop()
    await house.work((command) => handle(command.content), { maxConcurrency: 1, workerId: 'other' })
    await waitFor(() => ran.length >= tasks, { timeoutMs: 10_000 })
    open.resolve()
    await stopped
    await house.settled()
    expect([...ran].sort((a, b) => a - b)).toEqual(upTo(tasks))
  })
})
