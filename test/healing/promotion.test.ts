import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { House } from '../worker/harness.ts'
import { Ward } from './ward.ts'

/** A replica of a server that has all its data; it goes with the test. */
async function startReplica(masterPort: number) {
  const server = await startLocalRedis({ fresh: true, args: ['--replicaof', '127.0.0.1', `${masterPort}`] })
  onTestFinished(() => server.stop())
  const redis = new Redis(server.url, { disconnectTimeout: 100 })
  redis.on('error', () => undefined)
  onTestFinished(() => redis.disconnect())
  await waitFor(async () => (await redis.info('replication')).includes('master_link_status:up'), { timeoutMs: 15_000 })
  return { server, redis }
}

test('a replica that had not heard of the last writes takes over: lost ends are reached again, each once, and all goes on', {
  timeout: 90_000,
}, async () => {
  const ward = await Ward.open({ work: { leaseMs: 2_000 } })
  const master = ward.house.redis
  const replica = await startReplica(ward.server.port)
  await ward.hold()
  const result = ward.result()
  for (let i = 0; i < 10; i += 1) await ward.backAtWork()
  const kept = [...ward.accepted]
  const waiting = { targetAgentType: 'later', sessionId: 's', content: 'quick' }
  await ward.client.sendMessage({ ...waiting, messageId: 'kept', delayMs: 1_000 })
  // WAIT is for the writes of its own connection: one of these comes behind all of theirs.
  await master.set('last', 'one')
  expect(await master.call('WAIT', 1, 10_000)).toBe(1)
  expect(await replica.redis.get('last')).toBe('one')

  // From here on the replica hears nothing: a start, an end, sends and their ends are confirmed, and will be lost.
  await replica.redis.call('REPLICAOF', 'NO', 'ONE')
  ward.gate.open()
  expect(await result).toMatchObject({ status: 'COMPLETED', data: 'held' })
  for (let i = 0; i < 10; i += 1) await ward.backAtWork()
  const unknown = { sessionId: 's', messageId: 'unknown' }
  const told = ward.client.ask({ ...waiting, ...unknown }).catch((error: { code?: string }) => error.code)
  // The answer to this comes after the one that accepts the task.
  await waitFor(async () => (await ward.client.getTask(unknown)) !== null)
  const lost = [...ward.accepted.slice(kept.length), 'unknown']

  ward.server.kill('SIGKILL')
  await ward.proxy.stop()
  const proxy = await TcpProxy.start(replica.server.port, ward.proxy.port)
  onTestFinished(() => proxy.stop())
  await ward.backAtWork()

  // What the new master knows nothing of is unknown, and who waits for it is told so.
  for (const messageId of lost) expect(await ward.client.getTask({ sessionId: 's', messageId })).toBeNull()
  expect(await told).toBe('GW_TASK_LOST')
  // What it knows has its end: the one whose end was lost has run once more, nothing else has.
  const house = new House(replica.server.url, 'queue')
  expect(await ward.result()).toMatchObject({ status: 'COMPLETED', data: 'held' })
  await house.settled()
  for (const messageId of kept) expect(await house.dones('s', messageId)).toHaveLength(1)
  expect([...ward.starts].filter(([, count]) => count > 1)).toEqual([['held', 2]])
  await house.work(() => 'later', { capabilities: ['later'] })
  expect(await ward.client.result({ sessionId: 's', messageId: 'kept' })).toMatchObject({ data: 'later' })
  expect(await house.client().diagnose()).toMatchObject({ findings: [] })
  expect(ward.following).toBe('still open')
})

test('what a task costs a replica in bytes', { timeout: 60_000 }, async () => {
  const house = await House.private()
  await startReplica(house.server.port)
  const offset = async () => Number(/master_repl_offset:(\d+)/.exec(await house.redis.info('replication'))?.[1])
  await house.work(() => null, { maxConcurrency: 100 })
  const client = house.client()
  const count = 2_000
  const send = (i: number) =>
    client.sendMessage({ targetAgentType: 'agent', sessionId: `s-${i % 50}`, content: 'x'.repeat(100) })
  await Promise.all(Array.from({ length: 100 }, (_, i) => send(i)))
  await house.settled()
  const before = await offset()
  await Promise.all(Array.from({ length: count }, (_, i) => send(i)))
  await house.settled()
  const bytes = ((await offset()) - before) / count
  // Entry, record, ownership, end, `done` event, and the entry's delivery and removal: some 2.5 KB. Reads and acks of one
  // entry each, and states written one by one, would be far beyond.
  expect(bytes).toBeGreaterThan(500)
  expect(bytes).toBeLessThan(4_000)
})
