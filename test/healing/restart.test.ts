import { expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { sleep } from '../../src/util/sleep.ts'
import { LOST_ONCE, Ward } from './ward.ts'

const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always']

test.concurrent('a restart with its data: all goes on, nothing is lost or repeated, one line per connection', {
  timeout: 60_000,
}, async () => {
  const ward = await Ward.open({ args: DURABLE })
  await ward.hold()
  const result = ward.result()
  ward.startLoad()
  await waitFor(() => ward.accepted.length > 5)
  ward.server.kill('SIGKILL')
  await sleep(300)
  const attempts = ward.proxy.accepted
  await sleep(1_000)
  expect(ward.proxy.accepted - attempts).toBeLessThan(30)
  await ward.server.restart()
  expect(await ward.backAtWork()).toBeLessThan(4_000)
  ward.stopLoad()
  ward.gate.open()
  expect(await result).toMatchObject({ status: 'COMPLETED', data: 'held', content: 'held' })
  await ward.settled()
  expect([...ward.starts.values()].filter((count) => count > 1)).toEqual([])
  // The work may be done before the last connection is back, each comes back by itself.
  await waitFor(() => LOST_ONCE.every((line) => line in ward.logged()), { timeoutMs: 2_000 })
  for (const [line, count] of Object.entries(ward.logged())) expect([line, count]).toEqual([line, 1])
  expect((await ward.idleSecond()).commands).toBeLessThan(120)
})

test.concurrent('an outage longer than a lease takes no task from a living worker', { timeout: 60_000 }, async () => {
  const ward = await Ward.open({ args: DURABLE, work: { leaseMs: 3_000 } })
  await ward.work({ leaseMs: 3_000 })
  for (let number = 0; number < 6; number += 1) await ward.hold(`held-${number}`)
  ward.server.kill('SIGKILL')
  await sleep(3_300)
  await ward.server.restart()
  expect(await ward.backAtWork()).toBeLessThan(4_000)
  await sleep(4_000)
  ward.gate.open()
  await ward.settled()
  expect([...ward.starts].filter(([, count]) => count > 1)).toEqual([])
})

test.concurrent('a restart without its data: who waits is told, the worker says what is gone, and new tasks run', {
  timeout: 60_000,
}, async () => {
  const ward = await Ward.open()
  const { client, house } = ward
  await ward.hold()
  const send = { targetAgentType: 'agent', sessionId: 's' }
  const waiting = [
    ward.result(),
    client.ask({ ...send, content: 'held' }),
    (async () => {
      for await (const _ of client.subscribe('s', { messageId: 'held' }));
    })(),
  ].map((promise) => promise.then(() => 'ended').catch((error: { code?: string }) => error.code))
  const unknown = client.result({ sessionId: 's', messageId: 'sent-later' })
  await ward.gate.reached(2)
  ward.accepted.length = 0
  await ward.server.restart()
  const back = performance.now()
  expect(await ward.backAtWork(back)).toBeLessThan(4_000)
  expect(await Promise.all(waiting)).toEqual(['GW_TASK_LOST', 'GW_TASK_LOST', 'GW_TASK_LOST'])
  expect(performance.now() - back).toBeLessThan(12_000)
  expect([...ward.aborts.values()]).toEqual(['GW_LEASE_LOST', 'GW_LEASE_LOST'])
  await waitFor(() => ward.logged()['Redis lost its data: 2 running tasks are gone'] === 1)
  await waitFor(async () => (await client.listWorkers()).length === 1)
  // Nothing was ever known of it, so it is not lost.
  await client.sendMessage({ ...send, messageId: 'sent-later', content: 'quick' })
  expect(await unknown).toMatchObject({ status: 'COMPLETED' })
  expect(await house.waiting()).toBe(0)
  expect([...ward.starts.values()].filter((count) => count > 1)).toEqual([])
  const { 'attempt given up': given, ...once } = ward.logged()
  expect(given).toBe(2)
  for (const [line, count] of Object.entries(once)) expect([line, count]).toEqual([line, 1])
})
