import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { RedisConnections } from '../../src/redis/connections.ts'
import { resolveRedis } from '../../src/redis/environment.ts'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { sleep } from '../../src/util/sleep.ts'
import { House, memoryLogger } from '../worker/harness.ts'
import { Ward } from './ward.ts'

test('READONLY: a master that is a replica for a while; few attempts, one line, and all goes on', {
  timeout: 40_000,
}, async () => {
  const ward = await Ward.open()
  const { redis } = ward.house
  await ward.hold()
  const result = ward.result()
  ward.startLoad()
  await waitFor(() => ward.accepted.length > 5)
  // A replica of nobody who answers: it keeps its data and refuses writes.
  await redis.call('REPLICAOF', '127.0.0.1', await findFreePort())
  await sleep(500)
  const attempts = ward.proxy.accepted
  await sleep(1_500)
  expect(ward.proxy.accepted - attempts).toBeLessThan(40)
  await redis.call('REPLICAOF', 'NO', 'ONE')
  expect(await ward.backAtWork()).toBeLessThan(4_000)
  ward.stopLoad()
  ward.gate.open()
  expect(await result).toMatchObject({ status: 'COMPLETED' })
  await ward.settled()
  await waitFor(() => ward.logged()['Redis connection is back: patient'] === 1)
  for (const [line, count] of Object.entries(ward.logged())) expect([line, count]).toEqual([line, 1])
  expect([...ward.starts.values()].filter((count) => count > 1)).toEqual([])
  expect((await ward.idleSecond()).connections).toBe(0)
})

test('out of memory: sends are refused with a reason, tasks wait, and go on when there is room; nothing runs twice', {
  timeout: 40_000,
}, async () => {
  // Shorter than the trouble, more often than it takes to be dead-lettered.
  const ward = await Ward.open({ work: { leaseMs: 400, maxDeliveries: 2 } })
  const { redis } = ward.house
  await ward.hold()
  const result = ward.result()
  ward.startLoad()
  await waitFor(() => ward.accepted.length > 10)
  await redis.config('SET', 'maxmemory', '1')
  await waitFor(() => ward.refusals.length > 0)
  expect(ward.refusals[0]).toMatchObject({ code: 'GW_REDIS_FAILED', message: expect.stringContaining('OOM') })
  ward.gate.open()
  ward.stopLoad()
  await sleep(2_500)
  const { commands } = await ward.idleSecond()
  // What was refused is tried again some times a second, each shard of the agenda by itself; a loop that spins sends thousands.
  expect(commands).toBeLessThan(500)
  await redis.config('SET', 'maxmemory', '0')
  expect(await ward.backAtWork()).toBeLessThan(4_000)
  expect(await result).toMatchObject({ status: 'COMPLETED', data: 'held' })
  await ward.settled()
  expect([...ward.starts.values()].filter((count) => count > 1)).toEqual([])
  await waitFor(() => ward.logged()['Redis takes commands again'] === 1)
  for (const [line, count] of Object.entries(ward.logged())) expect([line, count]).toEqual([line, 1])
})

test('a server that is loading is waited for: nobody fails, and work goes on when it has its data', {
  timeout: 60_000,
}, async () => {
  const slow = ['--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024']
  const ward = await Ward.open({ args: ['--appendonly', 'yes', '--appendfsync', 'always', ...slow] })
  const { redis } = ward.house
  // Asks also while the server is loading.
  const bare = new Redis(ward.house.url, { enableReadyCheck: false, disconnectTimeout: 100, retryStrategy: () => 50 })
  bare.on('error', () => undefined)
  onTestFinished(() => bare.disconnect())
  await redis.call('DEBUG', 'POPULATE', 2_500, 'ballast', 32)
  await redis.bgrewriteaof()
  await waitFor(async () => /aof_rewrite_in_progress:0/.test(await redis.info('persistence')))
  await ward.hold()
  const result = ward.result()
  const restarted = ward.server.restart()
  await waitFor(async () => /loading:1/.test(await bare.info('persistence')), { timeoutMs: 15_000 })
  const sent = ward.client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'quick' })
  await restarted
  expect(await ward.backAtWork()).toBeLessThan(4_000)
  expect(await sent).toMatchObject({ status: 'QUEUED' })
  ward.accepted.push('m')
  ward.gate.open()
  expect(await result).toMatchObject({ status: 'COMPLETED' })
  await ward.settled()
  for (const [line, count] of Object.entries(ward.logged())) expect([line, count]).toEqual([line, 1])
  expect([...ward.starts.values()].filter((count) => count > 1)).toEqual([])
})

test('who has closed while commands were refused does not say that they are taken again', async () => {
  const { redis, url } = await House.private()
  await redis.config('SET', 'maxmemory', '1')
  const logger = memoryLogger()
  const connections = new RedisConnections(resolveRedis(url), logger)
  const refused = connections.client('patient').call('SET', 'key', 'value')
  const lines = () => logger.lines.map(({ message }) => message)
  await waitFor(() => lines().includes('Redis refuses commands, trying again'))
  connections.close()
  await expect(refused).rejects.toMatchObject({ code: 'GW_CLOSED' })
  await sleep(1_500)
  expect(lines()).toEqual(['Redis refuses commands, trying again'])
})
