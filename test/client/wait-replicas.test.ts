import { setTimeout as pause } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { House } from '../worker/harness.ts'

const message = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

/** A house whose Redis has a replica. */
async function replicated() {
  const house = await House.private()
  const replica = await startLocalRedis({ fresh: true, args: ['--replicaof', '127.0.0.1', `${house.server.port}`] })
  onTestFinished(() => replica.stop())
  const isThere = async () => /state=online/.test(await house.redis.info('replication'))
  await waitFor(isThere, { timeoutMs: 15_000, message: 'the replica to be online' })
  return { house, replica }
}

test('a task is accepted once as many replicas have it as were asked for', async () => {
  const { house, replica } = await replicated()
  const client = house.client()
  const sends = Array.from({ length: 50 }, (_, i) =>
    client.sendMessage({ ...message, messageId: `${i}`, waitReplicas: 1 }),
  )
  expect((await Promise.all(sends)).map(({ status }) => status)).toEqual(Array.from({ length: 50 }, () => 'QUEUED'))
  const copy = new House(replica.url, house.prefix)
  expect([await copy.waiting(), await copy.redis.exists(copy.keys.task('s', '49'))]).toEqual([50, 1])
  const delayed = { ...message, messageId: 'later', delayMs: 60_000, waitReplicas: 1 }
  expect(await client.sendMessage(delayed)).toMatchObject({ status: 'QUEUED' })
  expect(await copy.redis.exists(copy.keys.task('s', 'later'))).toBe(1)
})

test('with too few replicas the answer says so; the task runs, and once only however often it is sent', async () => {
  const { house, replica } = await replicated()
  const client = house.client()
  const request = { ...message, messageId: 'm', waitReplicas: 2 }
  const error = { code: 'GW_NOT_REPLICATED', message: 'm was sent, but 1 of 2 replicas have confirmed it' }
  expect(await client.sendMessage(request)).toMatchObject({ success: false, status: 'NOT_REPLICATED', error })
  const nobody = { ...request, messageId: 'other', requireOnlineWorker: true }
  expect(await client.sendMessage(nobody)).toMatchObject({ success: false, status: 'NO_WORKER' })
  await replica.stop()
  // Many that wait for nothing do not wait one after the other, and nobody else waits for them.
  const sends = Array.from({ length: 30 }, () => client.sendMessage({ ...request, waitReplicas: 1 }))
  let isAnswered = false
  void Promise.race(sends).then(() => {
    isAnswered = true
  })
  await pause(200) // they wait by now
  expect(await client.sendMessage({ ...message, messageId: 'other' })).toMatchObject({ status: 'QUEUED' })
  expect(isAnswered).toBe(false)
  expect(new Set((await Promise.all(sends)).map(({ status }) => status))).toEqual(new Set(['NOT_REPLICATED']))
  let runs = 0
  await house.work((_command, context) => {
    runs += context.messageId === 'm' ? 1 : 0
    return 'done'
  })
  expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ data: 'done' })
  await house.settled()
  expect(runs).toBe(1)
  await expect(client.ask({ ...message, waitReplicas: 1 })).rejects.toMatchObject({ code: 'GW_SEND_REFUSED' })
})

test.each([-1, 1.5, '1'])('%j is rejected', async (waitReplicas) => {
  const answer = await new House().client().sendMessage({ ...message, waitReplicas: waitReplicas as number })
  expect(answer).toMatchObject({ status: 'REJECTED', error: { message: expect.stringContaining('waitReplicas') } })
})
