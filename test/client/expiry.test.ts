import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { TaskRecords } from '../../src/store/task-records.ts'
import { openStore } from '../redis/harness.ts'
import { collect, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }
const ref = { sessionId: 's', messageId: 'm' }
const expired = { status: 'EXPIRED', error: { code: 'GW_EXPIRED' } }

const kinds = [
  ['QUEUED', { expiresInMs: 300 }],
  ['DELAYED', { delayMs: 600_000, expiresInMs: 300 }],
] as const

test.each(kinds)('a task that is %s ends in time for all who wait, although no worker lives', async (status, times) => {
  const house = new House()
  const client = house.client()
  await client.sendMessage({ ...send, ...times, messageId: 'm' })
  expect(await client.getTask(ref)).toMatchObject({ status, expiresAt: expect.any(Number) })
  const [result, events, answer] = await Promise.all([
    client.result(ref),
    collect(house.client().subscribe('s', { messageId: 'm' })),
    client.ask({ ...send, ...times, sessionId: 'other' }),
  ])
  expect(result).toMatchObject(expired)
  expect(events).toMatchObject([{ type: 'done', ...expired }])
  expect(answer).toMatchObject(expired)
  expect(await house.dones('s', 'm')).toHaveLength(1)
  expect(await client.getTask(ref)).toMatchObject({ status: 'EXPIRED', expiresAt: null })
})

test('who comes when the time is up long since is told at once, and a worker that comes then runs nothing', async () => {
  const house = new House()
  const client = house.client()
  await client.sendMessage({ ...send, messageId: 'm', expiresInMs: 1 })
  await pause(20)
  expect(await client.result({ ...ref, timeoutMs: 500 })).toMatchObject(expired)
  let runs = 0
  await house.work(() => {
    runs += 1
  })
  await house.settled()
  expect([runs, await house.dones('s', 'm')]).toEqual([0, [expect.anything()]])
})

test('what was sent on behalf of a cancelled task, by one who died before he ended it, ends as that', async () => {
  const house = new House()
  const client = house.client()
  const { redis } = openStore()
  await client.sendMessage({ ...send, messageId: 'above' })
  await client.cancelTask({ sessionId: 's', messageId: 'above' })
  const task = { ...ref, agentType: 'agent', traceId: 't', parentMessageId: 'above', userCode: '', expiresInMs: 1 }
  await new TaskRecords(redis, house.keys).admit([task])
  await pause(20)
  expect(await client.result(ref)).toMatchObject({ status: 'CANCELLED', error: { code: 'GW_CANCELLED' } })
  expect(await house.dones('s', 'm')).toHaveLength(1)
})

test('a task whose time is not up is left alone, and only Redis is asked what time it is', async () => {
  const house = new House()
  const client = house.client()
  await client.sendMessage({ ...send, messageId: 'm', expiresInMs: 600_000 })
  const { now } = Date
  Date.now = () => now() + 3_600_000
  try {
    await expect(client.result({ ...ref, timeoutMs: 100 })).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
  } finally {
    Date.now = now
  }
  expect(await client.getTask(ref)).toMatchObject({ status: 'QUEUED' })
})
