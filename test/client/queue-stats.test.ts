import { setTimeout as pause } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Gate, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'x' }
const empty = { length: 0, pending: 0, oldestAgeMs: null }

test('of a capability that nobody has ever heard of', async () => {
  expect(await new House().client().queueStats('agent')).toEqual({
    ...{ capability: 'agent', waiting: 0, running: 0, dead: 0 },
    lanes: { high: empty, normal: empty, low: empty },
  })
})

test('before any worker has come everything waits, each lane for itself', async () => {
  const house = new House()
  const client = house.client()
  await client.sendMessage(send)
  await client.sendMessage({ ...send, priority: 'high' })
  await pause(30)
  await client.sendMessage({ ...send, priority: 'high' })
  const { lanes, ...sums } = await client.queueStats('agent')
  expect(sums).toEqual({ capability: 'agent', waiting: 3, running: 0, dead: 0 })
  expect(lanes.low).toEqual(empty)
  expect(lanes.normal).toEqual({ length: 1, pending: 0, oldestAgeMs: expect.any(Number) })
  expect(lanes.high).toMatchObject({ length: 2, pending: 0 })
  expect(lanes.high.oldestAgeMs).toBeGreaterThanOrEqual(25)
})

test('tells the running from the waiting; only the waiting have an age', async () => {
  const house = new House()
  const client = house.client()
  const gate = new Gate()
  onTestFinished(() => gate.open())
  await house.work(() => gate.pass(), { maxConcurrency: 2 })
  await client.sendMessage(send)
  await client.sendMessage({ ...send, priority: 'low' })
  await gate.reached(2)
  expect(await client.queueStats('agent')).toMatchObject({
    ...{ waiting: 0, running: 2 },
    lanes: { normal: { length: 1, pending: 1, oldestAgeMs: null }, low: { length: 1, pending: 1, oldestAgeMs: null } },
  })
  await client.sendMessage({ ...send, priority: 'low' })
  await pause(30)
  const stats = await client.queueStats('agent')
  expect(stats).toMatchObject({ waiting: 1, running: 2, lanes: { low: { length: 2, pending: 1 } } })
  expect(stats.lanes.low.oldestAgeMs).toBeGreaterThanOrEqual(25)
  expect(await client.queueStats('agent', { consumerGroup: 'other' })).toMatchObject({ waiting: 3, running: 0 })
})

test('counts the dead', async () => {
  const house = new House()
  const client = house.client()
  await house.work(() => null)
  await house.add({ data: 'poison' })
  await waitFor(async () => (await client.queueStats('agent')).dead === 1)
  await house.settled()
  expect(await client.queueStats('agent')).toMatchObject({ waiting: 0, running: 0 })
})

test('refuses what is no capability, and a key that is no stream is told', async () => {
  const house = new House()
  await expect(house.client().queueStats('a b')).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
  await house.redis.set(house.keys.control('agent', 'low'), 'no stream')
  await expect(house.client().queueStats('agent')).rejects.toThrow(/WRONGTYPE/)
})
