import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { Audit } from '../../src/audit/audit.ts'
import type { AskAgentCommand } from '../../src/protocol/command.ts'
import { DEFAULT_GROUP, DEFAULT_LEASE_MS } from '../../src/store/defaults.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { resolveWorkerOptions } from '../../src/worker/options.ts'
import { sized } from '../support/size.ts'
import { FunctionWorker } from '../worker/harness.ts'
import { changed, Ward } from './harness.ts'

const LOOKS = sized({ short: 3, long: 8 })

test('what the doctor takes for the defaults are those of the workers', () => {
  const { consumerGroup, leaseMs, resultTtlMs, streamTtlMs, streamMaxLength } = resolveWorkerOptions({
    worker: new FunctionWorker(['agent'], () => null),
  })
  expect([DEFAULT_GROUP, DEFAULT_LEASE_MS]).toEqual([consumerGroup, leaseMs])
  expect(DEFAULT_RETENTION).toEqual({ resultTtlMs, streamTtlMs, streamMaxLength })
})

test('nothing there, nothing found', async () => {
  const ward = new Ward()
  expect(await ward.audit.diagnose()).toEqual({ findings: [], notes: [], recordsSeen: 0, entriesSeen: 0 })
})

test('a busy fleet is healthy, however often one looks', { timeout: LOOKS * 20_000 }, async () => {
  const ward = new Ward()
  const handle = async (command: AskAgentCommand, context: AgentContext) => {
    await context.emitChunk('a')
    await pause(Number(command.content))
    if (Number(command.content) === 7 && context.attempt === 1) throw new Error('seven')
    return 'done'
  }
  const retry = { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 300 } } as const
  const capabilities = ['agent', 'other']
  for (const workerId of ['w-1', 'w-2']) {
    await ward.work(handle, { capabilities, workerId, maxConcurrency: 8, leaseMs: 1_000, retry })
  }
  const client = ward.client()
  let isOver = false
  const sent: string[] = []
  const load = async (lane: number) => {
    for (let i = 0; !isOver; i += 1) {
      const targetAgentType = capabilities[i % 2] as string
      const sessionId = `s-${lane}-${i % 50}`
      const ask = { targetAgentType, sessionId, content: String(i % 15) }
      // Some are waited for, some pile up, so that queues are sometimes long and sometimes empty.
      if (i % 20 === 0) await client.ask(ask)
      else if (i % 20 < 15) sent.push((await client.sendMessage(ask)).messageId)
      else if (i % 20 < 18) await client.sendMessage({ ...ask, delayMs: 250 })
      else {
        const { messageId } = await client.sendMessage({ ...ask, content: '200' })
        await client.cancelTask({ sessionId, messageId })
      }
    }
  }
  const lanes = Array.from({ length: 10 }, (_, lane) => load(lane))
  const seen = { records: 0, entries: 0 }
  try {
    for (let look = 0; look < LOOKS; look += 1) {
      // Far closer together than by default: a transient state has the greatest chance to be taken for a lasting one.
      const { findings, notes, recordsSeen, entriesSeen } = await ward.audit.diagnose({ intervalMs: 100, fix: true })
      expect({ findings, notes }).toEqual({ findings: [], notes: [] })
      seen.records += recordsSeen
      seen.entries += entriesSeen
    }
  } finally {
    isOver = true
    await Promise.all(lanes)
  }
  expect(sent.length).toBeGreaterThan(100)
  expect(seen.records).toBeGreaterThan(100)
  expect(seen.entries).toBeGreaterThan(0)
  await ward.settled(...capabilities)
  expect(await ward.findings()).toEqual([])
})

test('looking changes nothing, also where much is wrong', async () => {
  const ward = new Ward({ consumerIdleMs: 0 })
  await ward.record('m-1', 'Q:0::')
  await ward.record('m-2', 'R:1:5-5:gone')
  await ward.record('m-3', 'C:1:6-6:gone')
  await ward.entry('m-3')
  await ward.take('gone', 60_000)
  await ward.redis.zadd(ward.keys.workers(), 5, 'gone')
  await ward.redis.xadd(ward.keys.data('s'), '*', 'data', 'x')
  const before = await ward.snapshot()
  const findings = await ward.findings()
  expect(findings.length).toBeGreaterThanOrEqual(5)
  expect(findings.every(({ fixed }) => !fixed)).toBe(true)
  expect(changed(before, await ward.snapshot())).toEqual([])
})

test('what is wrong at one look only is no finding', async () => {
  const ward = new Ward()
  const record = await ward.record('m', 'R:1:5-5:gone')
  const finding = ward.audit.diagnose({ intervalMs: 1_000 })
  await pause(400)
  // Taken over in between: the same task in the same state, but another attempt.
  await ward.redis.hset(record, 'fence', 'R:2:5-5:gone')
  expect((await finding).findings).toEqual([])
})

test('options are checked by name', async () => {
  const ward = new Ward()
  for (const [option, field] of [
    [{ limit: 0 }, 'limit'],
    [{ intervalMs: -1 }, 'intervalMs'],
    [{ capability: 'a b' }, 'capability'],
    [{ consumerGroup: '' }, 'consumerGroup'],
    [{ repair: true }, 'repair'],
  ] as const) {
    await expect(ward.audit.diagnose(option as object), field).rejects.toMatchObject({
      code: 'GW_INVALID_ARGUMENT',
      details: { field },
    })
  }
  expect(ward.audit).toBeInstanceOf(Audit)
})
