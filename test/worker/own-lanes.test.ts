import { once } from 'node:events'
import { describe, expect, test, vi } from 'vitest'
import { ControlLeases } from '../../src/store/control-leases.ts'
import { ControlReader } from '../../src/store/control-reader.ts'
import { ownLanesOf } from '../../src/store/control-streams.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { OwnLanes } from '../../src/worker/own-lanes.ts'
import { Slots } from '../../src/worker/slots.ts'
import { openStore } from '../redis/harness.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { startChild } from './child.ts'
import { Gate, House, memoryLogger } from './harness.ts'

const message = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }
const forB = { ...message, targetWorkerId: 'b' }
const QUICK = { type: 'fixed', delayMs: 1 } as const

/** A worker that answers with its name. */
const named = (house: House, workerId: string) => house.work((_command, context) => context.workerId, { workerId })

describe('a task for one worker', () => {
  test('runs there and nowhere else, and its lane is gone when nothing is left on it', async () => {
    const house = new House()
    const [, b] = await Promise.all([named(house, 'a'), named(house, 'b'), named(house, 'c')])
    const client = house.client()
    const asks = Array.from({ length: 20 }, (_, index) => client.ask({ ...forB, sessionId: `s-${index}` }))
    expect(new Set((await Promise.all(asks)).map(({ data }) => data))).toEqual(new Set(['b']))
    expect((await client.ask(message)).status).toBe('COMPLETED')
    await b.stop()
    expect(await house.redis.keys(`${house.prefix}:own:*`)).toEqual([])
  })

  test('goes before what anybody may run, also when all slots are in use', async () => {
    const house = new House()
    const gate = new Gate()
    const lastOwn = new Gate()
    const order: unknown[] = []
    const handle = async ({ content }: { content: unknown }) => {
      order.push(content)
      if (content === 'own 4') lastOwn.open()
      // One after the other may go through the second slot while the last own one is begun in the first.
      else await (String(content).startsWith('other') ? lastOwn : gate).pass()
    }
    await house.work(handle, { workerId: 'b', maxConcurrency: 2 })
    const client = house.client()
    const sent = (content: string, targetWorkerId?: string) => client.ask({ ...message, content, targetWorkerId })
    const first = [sent('one'), sent('two')]
    await gate.reached(2)
    const others = Array.from({ length: 10 }, (_, index) => sent(`other ${index}`))
    await waitFor(async () => (await house.waiting()) === 12)
    const own = Array.from({ length: 5 }, (_, index) => sent(`own ${index}`, 'b'))
    await waitFor(async () => (await house.redis.xlen(house.keys.control('agent', '@b'))) === 5)
    // It has looked and found no room by the time that it has heard of all.
    const groups = async () => (await house.redis.xinfo('GROUPS', house.keys.control('agent', '@b'))) as unknown[]
    await waitFor(async () => (await groups()).length === 1)
    gate.open()
    await Promise.all([...first, ...others, ...own])
    expect(order.slice(2, 6).toSorted()).toEqual(['own 0', 'own 1', 'own 2', 'own 3'])
    // Beside the last of them a slot is free for another one, and either may be called first.
    expect(order.indexOf('own 4')).toBeLessThanOrEqual(7)
  })

  test('waits for a worker that is away, which is said where one asks, and harms nobody', async () => {
    const house = new House()
    await named(house, 'a')
    const client = house.client()
    const { messageId } = await client.sendMessage(forB)
    expect((await client.ask(message)).data).toBe('a')
    expect(await client.getTask({ sessionId: 's', messageId })).toMatchObject({ status: 'QUEUED', workerId: '' })
    const explained = await client.explain({ sessionId: 's', messageId })
    expect(explained).toMatchObject({ state: 'queued', priority: '@b', workers: 0 })
    expect(explained.text).toContain("Worker 'b' is not there")
    const { findings } = await client.diagnose({ capability: 'agent' })
    expect(findings).toEqual([])
    await named(house, 'b')
    expect(await client.result({ sessionId: 's', messageId })).toMatchObject({ status: 'COMPLETED', data: 'b' })
  })

  test('expires, or is cancelled, like any other', async () => {
    const house = new House()
    await named(house, 'a')
    const client = house.client()
    expect(await client.ask({ ...forB, expiresInMs: 50 })).toMatchObject({ status: 'EXPIRED' })
    const { messageId } = await client.sendMessage(forB)
    expect(await client.cancelTask({ sessionId: 's', messageId })).toMatchObject({ status: 'CANCELLED' })
    // Their entries are seen off when it comes.
    await named(house, 'b')
    await waitFor(async () => (await house.redis.exists(house.keys.control('agent', '@b'))) === 0, {
      timeoutMs: 15_000,
    })
    expect(await client.getTask({ sessionId: 's', messageId })).toMatchObject({ status: 'CANCELLED', attempt: 0 })
  })

  test('is kept for that worker when it dies, and runs again when it is back', async () => {
    const house = new House()
    await named(house, 'a')
    const client = house.client()
    const { child, said } = await startChild(house, 'b', 1_000)
    const { messageId } = await client.sendMessage({ ...forB, content: 'hang' })
    await waitFor(() => said.includes('began hang'))
    child.kill('SIGKILL')
    await once(child, 'exit')
    await waitFor(async () => (await client.listWorkers()).length === 1, { timeoutMs: 15_000 })
    expect(await client.getTask({ sessionId: 's', messageId })).toMatchObject({ status: 'RUNNING', workerId: 'b' })
    await named(house, 'b')
    expect(await client.result({ sessionId: 's', messageId })).toMatchObject({ data: 'b', attempts: 1 })
  })

  test('leaves nothing behind where it has its end before its worker is there, who may never come', async () => {
    const house = new House()
    await named(house, 'a') // who sees to what expires
    const client = house.client()
    const lane = house.keys.control('agent', '@b')
    const send = (messageId: string, more = {}) => client.sendMessage({ ...forB, messageId, ...more })
    await Promise.all([send('cancelled'), send('stays'), send('expires', { expiresInMs: 200 })])
    await send('cancelled') // a second entry of the same task
    await send('delayed', { delayMs: 60_000 })
    expect(await house.redis.xlen(lane)).toBe(4)
    for (const messageId of ['cancelled', 'delayed']) {
      expect(await client.cancelTask({ sessionId: 's', messageId })).toMatchObject({ status: 'CANCELLED' })
    }
    await client.result({ sessionId: 's', messageId: 'expires' })
    await waitFor(async () => (await house.redis.xlen(lane)) === 1)
    const ttl = (messageId: string) => house.redis.pttl(house.keys.task('s', messageId))
    for (const messageId of ['cancelled', 'delayed', 'expires']) {
      await waitFor(async () => (await ttl(messageId)) > 0, {
        message: `the record of '${messageId}' to go in its time`,
      })
    }
    await client.cancelTask({ sessionId: 's', messageId: 'stays' })
    expect(await house.redis.keys(`${house.prefix}:own:*`)).toEqual([])
    // A worker of that name finds nothing to do, and what is sent to it from now on.
    await named(house, 'b')
    expect((await client.ask({ ...forB, messageId: 'new' })).data).toBe('b')
    for (const messageId of ['cancelled', 'delayed', 'expires', 'stays']) {
      expect(await house.dones('s', messageId)).toHaveLength(1)
    }
  })

  test('leaves nothing behind when it is ended by force, its worker having died or not', async () => {
    const house = new House()
    const client = house.client()
    const { child, said } = await startChild(house, 'b', 1_000)
    await client.sendMessage({ ...forB, messageId: 'died', content: 'hang' })
    await waitFor(() => said.includes('began hang'))
    child.kill('SIGKILL')
    await once(child, 'exit')
    const gate = new Gate()
    await house.work(() => gate.pass(), { workerId: 'c' })
    await client.sendMessage({ ...message, targetWorkerId: 'c', messageId: 'lives' })
    await gate.reached(1)
    for (const messageId of ['died', 'lives']) {
      const ended = await client.cancelTask({ sessionId: 's', messageId, mode: 'force' })
      expect(ended).toMatchObject({ status: 'CANCELLED' })
      expect(await house.dones('s', messageId)).toHaveLength(1)
      expect(await house.redis.pttl(house.keys.task('s', messageId))).toBeGreaterThan(0)
    }
    gate.open()
    await waitFor(async () => (await house.redis.keys(`${house.prefix}:own:*`)).length === 0)
    expect((await client.ask({ ...message, targetWorkerId: 'c' })).status).toBe('COMPLETED')
    expect(house.logger.lines.filter(({ level }) => level === 'error')).toEqual([])
  })

  test('whose lane goes while its worker looks at it does not bring an empty one back', async () => {
    const house = new House()
    const client = house.client()
    const ref = { sessionId: 's', messageId: 'gone' }
    const looked = deferred()
    const look = vi.spyOn(ControlReader.prototype, 'joinGroups').mockImplementationOnce(async function (
      this: ControlReader,
      lanes,
    ) {
      // As a cancel does that ends it by force.
      await house.redis.del(...lanes.map(({ key }) => key))
      await this.joinGroups(lanes)
      looked.resolve()
    })
    onTestFinished(() => look.mockRestore())
    await house.work(() => 'done', { workerId: 'c' })
    await client.sendMessage({ ...message, ...ref, targetWorkerId: 'c' })
    await looked.promise
    expect(await house.redis.keys(`${house.prefix}:own:*`)).toEqual([])
    expect((await client.ask({ ...message, targetWorkerId: 'c' })).status).toBe('COMPLETED')
    expect(house.logger.lines.filter(({ message: said }) => said.includes('own lanes'))).toEqual([])
  })

  test('is delayed, fails, is tried again and redriven, always there', async () => {
    const house = new House()
    const runs: string[] = []
    const retry = { maxAttempts: 2, backoff: QUICK }
    for (const workerId of ['a', 'b']) {
      await house.work(
        (_command, context) => {
          runs.push(context.workerId)
          if (runs.length < 3) throw new Error('not yet')
          return context.workerId
        },
        { workerId, retry },
      )
    }
    const client = house.client()
    expect(await client.ask({ ...forB, messageId: 'm', delayMs: 10 })).toMatchObject({ status: 'FAILED', attempts: 2 })
    await waitFor(async () => (await client.listDeadLetters('agent')).length === 1)
    expect(await client.listDeadLetters('agent')).toMatchObject([{ messageId: 'm', priority: '@b' }])
    expect(await client.redriveDeadLetters({ capability: 'agent' })).toMatchObject({ redriven: 1 })
    await waitFor(async () => (await client.getTask({ sessionId: 's', messageId: 'm' }))?.status === 'COMPLETED')
    expect(runs).toEqual(['b', 'b', 'b'])
  })

  test('that was suspended goes on there', async () => {
    const house = new House()
    for (const workerId of ['a', 'b']) {
      await house.work(async (_command, context) => `${await context.askUser('well?')} ${context.workerId}`, {
        ...{ workerId, suspendAfterMs: 0 },
      })
    }
    const client = house.client()
    const { messageId } = await client.sendMessage(forB)
    const ref = { sessionId: 's', messageId }
    await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_USER')
    const [ask] = await client.pendingAsks('s')
    await client.reply({ ...ref, askId: ask?.askId ?? '', content: 'yes' })
    expect(await client.result(ref)).toMatchObject({ data: 'yes b' })
  })
})

describe('a send for one worker', () => {
  test('is refused when it must be there and is not', async () => {
    const house = new House()
    await named(house, 'a')
    const client = house.client()
    const request = { ...forB, requireOnlineWorker: true }
    expect(await client.sendMessage(request)).toMatchObject({
      ...{ success: false, status: 'NO_WORKER' },
      error: { message: "no live worker 'b' offers 'agent'" },
    })
    expect(await house.redis.keys(`${house.prefix}:own:*`)).toEqual([])
    await named(house, 'b')
    expect(await client.ask(request)).toMatchObject({ data: 'b' })
  })

  test.each([
    [{ targetWorkerId: 'a b' }, /targetWorkerId.*'a b'|targetWorkerId/],
    [{ targetWorkerId: 'b', priority: 'high' }, /priority and targetWorkerId/],
  ] as const)('is rejected as %j', async (wrong, said) => {
    const answer = await new House().client().sendMessage({ ...message, ...wrong })
    expect(answer).toMatchObject({ status: 'REJECTED', error: { code: 'GW_INVALID_ARGUMENT' } })
    expect(answer.success ? '' : answer.error.message).toMatch(said)
  })
})

test('what one lane of a worker gave runs also where the next one cannot be read, which is said', async () => {
  const { redis, keys, bare } = openStore()
  const streams = ownLanesOf(['first', 'second'], keys, 'w')
  for (const { key } of streams) await bare.xadd(key, '*', 'data', '{}')
  const reader = new ControlReader({ redis, blocking: redis, streams, group: 'g', consumer: 'w' })
  vi.spyOn(reader, 'take')
    .mockImplementationOnce(ControlReader.prototype.take.bind(reader))
    .mockRejectedValueOnce(new Error('cut'))
  const logger = memoryLogger()
  const taken: string[] = []
  const lanes = new OwnLanes({
    ...{ reader, leases: new ControlLeases(redis, 'g', 'w'), slots: new Slots(10), leaseMs: 60_000, logger },
    accept: (entries) => taken.push(...entries.map(({ stream }) => stream.capability)),
  })
  onTestFinished(() => lanes.stop())
  await lanes.start()
  await waitFor(() => taken.length === 2)
  expect(taken).toEqual(['first', 'second'])
  expect(logger.lines.map(({ message }) => message)).toEqual([
    expect.stringMatching(/^looking at the worker's own lanes failed/),
  ])
})
