import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { plainProgram } from '../support/plain-program.ts'
import { collect, Gate, House } from './harness.ts'

const FIXTURE = plainProgram(new URL('fixtures/talker.ts', import.meta.url))
const SEND = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'x' }
const GROUP = 'agent_engines'

/** A worker process that talks for as long as it may, once it consumes. */
async function startTalker(house: House, workerId: string, leaseMs: number) {
  const args = [FIXTURE, house.url, house.prefix, workerId, String(leaseMs)]
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })
  const said: string[] = []
  child.stdout?.setEncoding('utf8').on('data', (text: string) => said.push(...text.split('\n').filter(Boolean)))
  await waitFor(() => said.includes('ready'), { timeoutMs: 20_000 })
  return { child, said }
}

/** What a reader has before him who forgets what he is told to forget. */
function heard(events: readonly SessionEvent[]): string[] {
  let texts: string[] = []
  for (const event of events) {
    if (event.type === 'chunk') texts.push(event.content)
    if (event.type === 'rewind') texts = []
  }
  return texts
}

const types = (events: readonly SessionEvent[], type: SessionEvent['type']) =>
  events.filter((event) => event.type === type)

describe.concurrent('the task of a worker process', { timeout: 60_000 }, () => {
  test('that was killed in the middle of its answer is answered by another one, within seconds', async () => {
    const house = new House()
    const { child, said } = await startTalker(house, 'killed', 1_000)
    const client = house.client()
    await client.sendMessage(SEND)
    const reading = collect(client.subscribe('s', { messageId: 'm' }))
    await waitFor(() => said.includes('began 1 1'))
    await waitFor(async () => (await house.events('s')).length > 3)
    await house.work(
      async (_command, context) => {
        await context.emitChunk(`again ${context.attempt} ${context.fencingToken}`)
        return 'done'
      },
      { workerId: 'heir', leaseMs: 1_000 },
    )
    child.kill('SIGKILL')
    const before = performance.now()
    const events = await reading
    // Dead for a lease; the rest is for a busy machine.
    expect(performance.now() - before).toBeLessThan(10_000)
    expect([types(events, 'rewind').length, types(events, 'done').length]).toEqual([1, 1])
    // The user's count of attempts does not grow because a machine died; the fencing token does.
    expect(heard(events)).toEqual(['again 1 2'])
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'COMPLETED', data: 'done' })
    await house.settled()
  })

  test('that was frozen is taken over, and what it does when it wakes up counts for nothing', async () => {
    const house = new House()
    const { child, said } = await startTalker(house, 'frozen', 1_000)
    const client = house.client()
    await client.sendMessage(SEND)
    await waitFor(async () => (await house.events('s')).length > 3)
    child.kill('SIGSTOP')
    await house.work(
      async (_command, context) => {
        await context.emitChunk('again')
        return 'true end'
      },
      { workerId: 'heir', leaseMs: 1_000 },
    )
    const result = { status: 'COMPLETED', data: 'true end' }
    expect(await client.result({ sessionId: 's', messageId: 'm', timeoutMs: 20_000 })).toMatchObject(result)
    const events = await house.events('s')
    const fence = await house.redis.hget(house.keys.task('s', 'm'), 'fence')
    child.kill('SIGCONT')
    await waitFor(() => said.includes('aborted GW_LEASE_LOST'), { timeoutMs: 20_000 })
    await pause(200)
    expect(await house.events('s')).toEqual(events)
    expect(await house.redis.hget(house.keys.task('s', 'm'), 'fence')).toBe(fence)
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject(result)
    await house.settled()
  })

  test('that comes back under its own name does not wait for the lease of its former life', async () => {
    const house = new House()
    const { child } = await startTalker(house, 'again', 30_000)
    const client = house.client()
    await client.sendMessage(SEND)
    await waitFor(async () => (await house.events('s')).length > 3)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await house.work(() => 'second life', { workerId: 'again', leaseMs: 30_000 })
    const result = await client.result({ sessionId: 's', messageId: 'm', timeoutMs: 15_000 })
    expect(result).toMatchObject({ status: 'COMPLETED', data: 'second life' })
    await house.settled()
  })
})

test.concurrent('who has just started takes what was let go at once, and leaves the living a moment to renew what ran out', {
  timeout: 60_000,
}, async () => {
  const house = new House()
  const client = house.client()
  for (const messageId of ['let-go', 'living']) {
    await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId, content: messageId })
  }
  const key = house.keys.control('agent')
  await house.redis.xgroup('CREATE', key, GROUP, '0')
  await house.redis.xreadgroup('GROUP', GROUP, 'other', 'COUNT', 2, 'STREAMS', key, '>')
  const [letGo = '', living = ''] = (await house.redis.xrange(key, '-', '+')).map(([id]) => id)
  const claim = (id: string, idleMs: number) => house.redis.xclaim(key, GROUP, 'other', 0, id, 'IDLE', idleMs)
  await claim(letGo, 30 * 86_400_000)
  await claim(living, 60_000)
  const begun: unknown[] = []
  const leaseMs = 6_000
  await house.work((command) => void begun.push(command.content), { leaseMs })
  await claim(living, 0)
  await waitFor(() => begun.length === 1)
  await pause(leaseMs / 2)
  expect(begun).toEqual(['let-go'])
  await waitFor(() => begun.length === 2)
  expect(begun).toEqual(['let-go', 'living'])
})

test.concurrent('a start that fails when it has taken a task breaks it off and leaves it to others at once', async () => {
  const house = await House.private()
  const client = house.client()
  await client.sendMessage(SEND)
  // Let go by somebody else, so that it is taken before the start is over.
  const key = house.keys.control('agent')
  await house.redis.xgroup('CREATE', key, GROUP, '0')
  await house.redis.xreadgroup('GROUP', GROUP, 'gone', 'STREAMS', key, '>')
  const [[id] = ['']] = await house.redis.xrange(key, '-', '+')
  await house.redis.xclaim(key, GROUP, 'gone', 0, id, 'IDLE', 30 * 86_400_000)
  // Who may do all but what comes last in a start.
  await house.redis.call('ACL', 'SETUSER', 'ann', 'on', '>secret', '~*', '&*', '+@all', '-xlen')
  const redis = { host: '127.0.0.1', port: house.server.port, username: 'ann', password: 'secret' }
  const gate = new Gate()
  onTestFinished(() => gate.open())
  const reasons: unknown[] = []
  const started = house.work(
    async (_command, { signal }) => {
      signal.addEventListener('abort', () => reasons.push((signal.reason as { code?: string }).code))
      await gate.pass()
    },
    { redis, version: '1', workerId: 'first', leaseMs: 30_000 },
  )
  await expect(started).rejects.toThrow("can't run this command")
  // On a slow machine the start may have failed before the handler was called.
  expect(reasons).toEqual(gate.arrived === 0 ? [] : ['GW_SHUTDOWN'])
  await house.work(() => 'other', { workerId: 'other', leaseMs: 30_000 })
  const result = await client.result({ sessionId: 's', messageId: 'm', timeoutMs: 5_000 })
  expect(result).toMatchObject({ data: 'other', attempts: 1 })
})

test.concurrent('long tasks among many who look for orphans run once each', { timeout: 60_000 }, async () => {
  const house = new House()
  const runs = new Map<string, number>()
  const handle = async (_command: unknown, { messageId }: { messageId: string }) => {
    runs.set(messageId, (runs.get(messageId) ?? 0) + 1)
    await pause(3_500 * Math.random())
  }
  for (const workerId of ['w-1', 'w-2', 'w-3']) {
    await house.work(handle, { workerId, leaseMs: 1_500, maxConcurrency: 40 })
  }
  const client = house.client()
  const sent = Array.from({ length: 90 }, (_, i) => client.ask({ ...SEND, messageId: `m-${i}`, timeoutMs: 40_000 }))
  const results = await Promise.all(sent)
  expect(results.every(({ status }) => status === 'COMPLETED')).toBe(true)
  expect([...runs.values()]).toEqual(Array.from({ length: 90 }, () => 1))
})

test.concurrent('an orphan behind five thousand live entries is found all the same', { timeout: 60_000 }, async () => {
  const house = new House()
  const key = house.keys.control('agent')
  await house.redis.xgroup('CREATE', key, GROUP, '0', 'MKSTREAM')
  const fill = house.redis.pipeline()
  for (let i = 0; i < 5_000; i += 1) fill.xadd(key, '*', 'data', 'held by somebody else')
  await fill.exec()
  await house.redis.xreadgroup('GROUP', GROUP, 'busy', 'COUNT', 5_000, 'STREAMS', key, '>')
  const ids = ((await house.redis.xpending(key, GROUP, '-', '+', 5_000)) as [string][]).map(([id]) => id)
  const renew = () => house.redis.xclaim(key, GROUP, 'busy', 0, ...ids, 'JUSTID')
  const client = house.client()
  await client.sendMessage(SEND)
  const reply = await house.redis.xreadgroup('GROUP', GROUP, 'dead', 'STREAMS', key, '>')
  const [[, [[orphan]]]] = reply as unknown as [[string, [[string]]]]
  await renew()
  await house.redis.xclaim(key, GROUP, 'dead', 0, orphan, 'IDLE', 60_000, 'JUSTID')
  // A lease that nothing of this outlives, and renewals all the time: what is in front stays alive.
  let isOver = false
  const renewing = (async () => {
    while (!isOver) {
      await renew()
      await pause(200)
    }
  })()
  try {
    await house.work(() => 'found', { leaseMs: 3_000, workerId: 'seeker' })
    expect(await client.result({ sessionId: 's', messageId: 'm', timeoutMs: 20_000 })).toMatchObject({ data: 'found' })
    const owners = (await house.redis.xpending(key, GROUP)) as [number, string, string, [string, string][]]
    expect(owners[3]).toContainEqual(['busy', '5000'])
  } finally {
    isOver = true
    await renewing
  }
})

test('workers that come and go under new names leave no consumers behind', { timeout: 60_000 }, async () => {
  const house = new House()
  const client = house.client()
  for (let i = 0; i < 8; i += 1) {
    const worker = await house.work(() => i, { workerId: `w-${i}` })
    expect(await client.ask({ ...SEND, messageId: `m-${i}`, timeoutMs: 10_000 })).toMatchObject({ data: i })
    await worker.stop()
  }
  expect(await house.redis.xinfo('CONSUMERS', house.keys.control('agent'), GROUP)).toEqual([])
})

test('under load a read brings many tasks, and an ack takes many away', { timeout: 60_000 }, async () => {
  const house = await House.private()
  const client = house.client()
  const tasks = 2_000
  const sends = Array.from({ length: tasks }, (_, i) => client.sendMessage({ ...SEND, messageId: `m-${i}` }))
  await Promise.all(sends)
  await house.redis.config('RESETSTAT')
  await house.work(() => null, { maxConcurrency: 100 })
  await house.settled()
  const stats = await house.redis.info('commandstats')
  const calls = (name: string) => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
  expect(calls('hset')).toBeGreaterThanOrEqual(tasks)
  // One by one it would be a read and an ack for each.
  expect(calls('xreadgroup')).toBeLessThan(tasks / 4)
  expect(calls('xack')).toBeLessThan(tasks / 4)
})
