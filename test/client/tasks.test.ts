import { hostname } from 'node:os'
import { describe, expect, test } from 'vitest'
import { VERSION } from '../../src/version.ts'
import { Gate, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

test('getTask tells a task’s life, by the clock of Redis', async () => {
  const house = new House()
  const client = house.client()
  const now = async () => {
    const [seconds, micros] = (await house.redis.time()).map(Number)
    return (seconds as number) * 1000 + Math.floor((micros as number) / 1000)
  }
  const ref = { sessionId: 's', messageId: 'm' }
  expect(await client.getTask(ref)).toBeNull()
  const before = await now()
  await client.sendMessage({ ...send, ...ref, traceId: 't', userCode: 'u', parentMessageId: 'p' })
  const queued = await client.getTask(ref)
  expect(queued).toEqual({
    ...{
      ...ref,
      status: 'QUEUED',
      agentType: 'agent',
      traceId: 't',
      userCode: 'u',
      parentMessageId: 'p',
      workerId: '',
    },
    ...{
      attempt: 0,
      epoch: 0,
      dueAt: null,
      expiresAt: null,
      createdAt: expect.any(Number),
      startedAt: null,
      finishedAt: null,
    },
  })
  const gate = new Gate()
  await house.work(() => gate.pass(), { workerId: 'w:1' })
  await gate.reached(1)
  const running = await client.getTask(ref)
  expect(running).toEqual({
    ...queued,
    status: 'RUNNING',
    workerId: 'w:1',
    attempt: 1,
    epoch: 1,
    startedAt: expect.any(Number),
  })
  gate.open()
  await client.result(ref)
  const ended = await client.getTask(ref)
  expect(ended).toEqual({ ...running, status: 'COMPLETED', finishedAt: expect.any(Number) })
  const times = [before, ended?.createdAt, ended?.startedAt, ended?.finishedAt, await now()]
  expect(times).toEqual([...times].sort((a, b) => Number(a) - Number(b)))
})

test.each([
  [{ sessionId: 'a b', messageId: 'm' }, /^sessionId is invalid/],
  [{ sessionId: 's', messageId: '' }, /^messageId is invalid/],
])('getTask refuses %j', async (ref, message) => {
  const client = new House().client()
  await expect(Promise.resolve().then(() => client.getTask(ref))).rejects.toThrow(message)
})

describe('listTasks', () => {
  async function some(house: House) {
    const client = house.client()
    await house.work((command) => {
      if (command.content === 'bad') throw new Error('bad')
    })
    for (const [sessionId, messageId, content] of [
      ['s-1', 'a', 'good'],
      ['s-1', 'b', 'bad'],
      ['s-2', 'c', 'good'],
      ['s-1', 'd', 'good'],
    ] as const) {
      await client.ask({ ...send, sessionId, messageId, content })
    }
    await client.sendMessage({ ...send, targetAgentType: 'nobody', sessionId: 's-1', messageId: 'e' })
    return client
  }
  const ids = (tasks: { messageId: string }[]) => tasks.map(({ messageId }) => messageId)

  test('of a session, oldest first, by status, up to a limit', async () => {
    const client = await some(new House())
    expect(ids(await client.listTasks({ sessionId: 's-1' }))).toEqual(['a', 'b', 'd', 'e'])
    expect(ids(await client.listTasks({ sessionId: 's-1', status: 'COMPLETED' }))).toEqual(['a', 'd'])
    expect(ids(await client.listTasks({ sessionId: 's-1', status: 'FAILED' }))).toEqual(['b'])
    expect(ids(await client.listTasks({ sessionId: 's-1', status: 'QUEUED' }))).toEqual(['e'])
    expect(ids(await client.listTasks({ sessionId: 's-1', limit: 2 }))).toEqual(['a', 'b'])
    expect(ids(await client.listTasks({ sessionId: 'nobody' }))).toEqual([])
    await expect(client.listTasks({ sessionId: 'a b' })).rejects.toThrow(/^sessionId is invalid/)
  })

  test('costs nothing of what they have answered', async () => {
    const house = await House.private()
    const client = house.client()
    await house.work(() => 'x'.repeat(300_000))
    const sent = { ...send, messageId: 'm' }
    await client.ask(sent)
    for (let i = 0; i < 10; i += 1) await client.ask(send)
    const bytes = async () => Number(/total_net_output_bytes:(\d+)/.exec(await house.redis.info('stats'))?.[1])
    const before = await bytes()
    expect(await client.listTasks({ sessionId: 's' })).toHaveLength(11)
    expect(await client.listTasks()).toHaveLength(11)
    expect(await client.getTask(sent)).toMatchObject({ status: 'COMPLETED', workerId: expect.stringMatching(/./) })
    expect((await bytes()) - before).toBeLessThan(100_000)
  })

  test('of all sessions', async () => {
    const client = await some(new House())
    expect(ids(await client.listTasks())).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(ids(await client.listTasks({ status: 'COMPLETED' }))).toEqual(['a', 'c', 'd'])
    expect(await client.listTasks({ limit: 2 })).toHaveLength(2)
    // The limit is one of what is listed, not of what is looked at.
    expect(ids(await client.listTasks({ status: 'FAILED', limit: 1 }))).toEqual(['b'])
    expect(ids(await client.listTasks({ status: 'QUEUED', limit: 1 }))).toEqual(['e'])
  })

  test('only those of this prefix, also where prefixes look like patterns', async () => {
    const [one, two] = [new House(undefined, `x*${Math.random()}`), new House()]
    for (const house of [one, two]) await house.client().sendMessage(send)
    expect(await one.client().listTasks()).toHaveLength(1)
    await one.redis.del(...(await one.redis.keys(`${one.prefix.replace('*', '\\*')}*`)))
  })
})

test('listWorkers tells who is alive, what he can do and how loaded he is', async () => {
  const house = new House()
  const client = house.client()
  expect(await client.listWorkers()).toEqual([])
  const gate = new Gate()
  const before = Date.now()
  const first = await house.work(() => gate.pass(), {
    workerId: 'w-b',
    capabilities: ['x', 'y'],
    maxConcurrency: 3,
    leaseMs: 300,
  })
  await house.work(() => null, { workerId: 'w-a' })
  await client.sendMessage({ ...send, targetAgentType: 'x' })
  await gate.reached(1)
  const common = { host: hostname(), pid: process.pid, version: VERSION }
  const times = { startedAt: expect.any(Number), lastSeenAt: expect.any(Number) }
  expect(await client.listWorkers()).toMatchObject([
    { workerId: 'w-a', capabilities: ['agent'], running: 0, maxConcurrency: 50, ...common, ...times },
    { workerId: 'w-b', capabilities: ['x', 'y'], maxConcurrency: 3, ...common, ...times },
  ])
  const { waitFor } = await import('../../src/testing/wait-for.ts')
  const seen = await waitFor(async () => (await client.listWorkers()).find(({ running }) => running === 1))
  expect(seen.workerId).toBe('w-b')
  expect(Math.abs(seen.startedAt - before)).toBeLessThan(5_000)
  expect(seen.lastSeenAt).toBeGreaterThan(seen.startedAt)
  gate.open()
  await first.stop()
  expect((await client.listWorkers()).map(({ workerId }) => workerId)).toEqual(['w-a'])
  expect(await house.redis.exists(house.keys.worker('w-b'), house.keys.capability('x'))).toBe(0)
})

test('listDeadLetters gives the newest first, up to a limit', async () => {
  const house = new House()
  const client = house.client()
  await house.work(() => null, { maxConcurrency: 1 })
  for (const data of ['one', 'two', 'three']) {
    await house.add({ data })
    await client.ask(send)
  }
  expect((await client.listDeadLetters('agent')).map(({ data }) => data)).toEqual(['three', 'two', 'one'])
  expect((await client.listDeadLetters('agent', { limit: 1 })).map(({ data }) => data)).toEqual(['three'])
  expect((await client.listDeadLetters({ capability: 'agent' }, { limit: 2 })).map(({ data }) => data)).toEqual([
    'three',
    'two',
  ])
  expect(await client.listDeadLetters('other')).toEqual([])
  await expect(Promise.resolve().then(() => client.listDeadLetters('a b'))).rejects.toThrow(/^capability is invalid/)
})
