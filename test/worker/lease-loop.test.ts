import { expect, test } from 'vitest'
import { Keys } from '../../src/redis/keys.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { type LeaseLoopData, runLeaseLoop } from '../../src/worker/lease-loop.ts'
import { LeaseTable } from '../../src/worker/lease-table.ts'
import { bareRedis, connect } from '../redis/harness.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { freshPrefix } from '../support/redis.ts'
import { memoryLogger } from './harness.ts'

test('an event loop that stands still for too long loses its leases, which is said once, until it turns again', async () => {
  const [keyPrefix, group, workerId, leaseMs] = [freshPrefix(), 'g', 'w', 400]
  const key = new Keys(keyPrefix).control('agent')
  const bare = bareRedis()
  await bare.xgroup('CREATE', key, group, '0', 'MKSTREAM')
  const id = (await bare.xadd(key, '*', 'data', '{}')) ?? ''
  await bare.xreadgroup('GROUP', group, workerId, 'STREAMS', key, '>')
  const idleMs = async () => ((await bare.xpending(key, group, '-', '+', 1)) as [string, string, number][])[0]?.[2] ?? 0
  const table = new LeaseTable(1)
  table.add(0, id)
  const identity = {
    ...{ workerId, leaseMs, incarnation: 'i', capabilities: ['agent'], maxConcurrency: 1 },
    ...{ host: 'h', pid: 1, version: '1', agentVersions: [] },
  }
  const data: LeaseLoopData = {
    ...{ keyPrefix, group, identity, leaseMs, blockedAfterMs: 800, startedAt: 1, streamKeys: [key] },
    ...{ redis: {} as never, table: table.shared },
  }
  const logger = memoryLogger()
  const stopping = new AbortController()
  onTestFinished(() => stopping.abort())
  const about = { client: connect().client('patient'), logger, signal: stopping.signal, onLost: () => undefined }
  const ended = runLeaseLoop(data, about)
  await waitFor(async () => (await idleMs()) > 3 * leaseMs)
  expect(logger.lines.map(({ level, message }) => [level, message])).toEqual([
    ['error', 'the event loop is blocked, leases are not renewed'],
  ])
  await waitFor(async () => {
    table.beat(1)
    return (await idleMs()) < leaseMs
  })
  stopping.abort()
  await ended
})
