import { expect, test } from 'vitest'
import { Abandonment } from '../../src/audit/abandonment.ts'
import { Audit, type DiagnoseOptions } from '../../src/audit/audit.ts'
import type { Finding } from '../../src/audit/finding.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { type TaskFacts, TaskFactsReader } from '../../src/store/task-facts.ts'
import { connect } from '../redis/harness.ts'
import { Gate } from '../worker/harness.ts'
import { Ward } from './harness.ts'

const REF = { sessionId: 's', messageId: 'm' }

/**
 * Repairs what is found, and lets something happen when the second look is over and nothing is repaired yet. Answers what
 * was found, by kind.
 */
async function fixAfter(ward: Ward, meanwhile: () => Promise<unknown>): Promise<readonly Finding[]> {
  const redis = connect(ward.url).client('patient')
  const call = redis.call.bind(redis)
  let walks = 0
  redis.call = async <Reply>(...args: Parameters<typeof call>) => {
    const reply = await call<Reply>(...args)
    // Each look begins and ends with the list of all workers.
    if (args[0] === 'ZSCAN' && args[1] === ward.keys.workers()) {
      walks += 1
      if (walks === 4) await meanwhile()
    }
    return reply
  }
  const options: DiagnoseOptions = { fix: true, intervalMs: 20 }
  const { findings } = await new Audit({ redis, keys: ward.keys }).diagnose(options)
  expect(walks).toBe(4)
  // They come in the order in which a SCAN meets the keys, which is another one for each server.
  return findings.toSorted((a, b) => a.kind.localeCompare(b.kind))
}

/** A task that has failed and lies in the dead letters. */
async function buried(ward: Ward): Promise<string> {
  const worker = await ward.work(() => {
    throw new Error('no luck')
  })
  const client = ward.client()
  await client.sendMessage({ ...REF, targetAgentType: 'agent', content: 'x' })
  await client.result(REF)
  await ward.settled()
  await worker.stop()
  return ward.keys.task('s', 'm')
}

const redriven = async (ward: Ward) => {
  expect(await ward.client().redriveDeadLetters(REF)).toMatchObject({ redriven: 1 })
}

test('a task that is redriven before its record gets a time to live keeps it without one', async () => {
  const ward = new Ward()
  const record = await buried(ward)
  await ward.redis.persist(record)
  const findings = await fixAfter(ward, () => redriven(ward))
  expect(findings).toMatchObject([
    { kind: 'dead-letters' },
    { kind: 'key-without-ttl', holds: 'record', key: record, fixed: false },
  ])
  expect(await ward.redis.pttl(record)).toBe(-1)
})

test('the journal of a task that is redriven before it gets a time to live keeps none', async () => {
  const ward = new Ward()
  await buried(ward)
  const journal = ward.keys.journal('s', 'm')
  await ward.redis.hset(journal, 'n', '1')
  const findings = await fixAfter(ward, () => redriven(ward))
  expect(findings).toMatchObject([
    { kind: 'dead-letters' },
    { kind: 'key-without-ttl', holds: 'journal', key: journal, fixed: false },
  ])
  expect(await ward.redis.pttl(journal)).toBe(-1)
})

test('the journal of a task that is sent again before its old one is removed stays', async () => {
  const ward = new Ward()
  const journal = ward.keys.journal('s', 'm')
  await ward.redis.hset(journal, 'n', '1')
  await ward.group()
  const gate = new Gate()
  let steps = 0
  await ward.work(async (_, context) => {
    await context.step('once', () => (steps += 1))
    await gate.pass()
  })
  const findings = await fixAfter(ward, async () => {
    await ward.client().sendMessage({ ...REF, targetAgentType: 'agent', content: 'x' })
    await gate.reached(1)
  })
  expect(findings).toMatchObject([{ kind: 'orphaned-journal', fixed: false }])
  expect(await ward.redis.hlen(journal)).toBeGreaterThan(1)
  gate.open()
  expect(await ward.client().result(REF)).toMatchObject({ status: 'COMPLETED' })
})

test.each([
  ['QUEUED', {}],
  ['DELAYED', { delayMs: 60_000 }],
] as const)('a %s task whose sender sends it again before it is given up waits on', async (status, timing) => {
  const ward = new Ward()
  const record = await ward.record('m', `${status.charAt(0)}:0::`)
  await ward.group()
  const findings = await fixAfter(ward, async () => {
    await ward.client().sendMessage({ ...REF, targetAgentType: 'agent', content: 'x', ...timing })
  })
  expect(findings).toMatchObject([{ kind: 'waiting-without-entry', status, fixed: false }])
  expect(await ward.redis.hget(record, 'fence')).toBe(`${status.charAt(0)}:0::`)
  expect(await ward.dones('s', 'm')).toEqual([])
})

test('a session in which a task is suspended before its events get a time to live keeps them', async () => {
  const ward = new Ward()
  const data = ward.keys.data('s')
  await ward.redis.xadd(data, '*', 'data', '{}')
  await ward.work((_, context) => context.sleep(3_600_000), { suspendAfterMs: 0 })
  const findings = await fixAfter(ward, async () => {
    const client = ward.client()
    await client.sendMessage({ ...REF, targetAgentType: 'agent', content: 'x' })
    await expect.poll(() => ward.redis.hget(ward.keys.task('s', 'm'), 'fence')).toMatch(/^W:/)
    await ward.redis.persist(data)
  })
  expect(findings).toMatchObject([{ kind: 'key-without-ttl', holds: 'events', fixed: false }])
  expect(await ward.redis.pttl(data)).toBe(-1)
})

test('a task that is redriven just after the doctor has ended it keeps its record', async () => {
  const ward = new Ward()
  const record = await buried(ward)
  await ward.redis.hset(record, 'fence', 'R:3:5-5:gone')
  await ward.redis.persist(record)
  const redis = connect(ward.url).client('patient')
  const [facts] = await new TaskFactsReader(redis, ward.keys).read([REF])
  const script = redis.script.bind(redis)
  redis.script = async <Reply>(...args: Parameters<typeof script>) => {
    const reply = await script<Reply>(...args)
    if (args[0] === 'conclude') await redriven(ward)
    return reply
  }
  expect(await new Abandonment(redis, ward.keys, DEFAULT_RETENTION).end(facts as TaskFacts, 'no reason')).toBe(true)
  expect(await ward.redis.hget(record, 'fence')).toBe('Q:3::')
  expect(await ward.redis.pttl(record)).toBe(-1)
})
