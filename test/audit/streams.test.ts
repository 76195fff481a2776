import { expect, test } from 'vitest'
import type { FindingKind } from '../../src/audit/finding.ts'
import { envelope } from '../worker/harness.ts'
import { changed, GROUP, Ward } from './harness.ts'

const control = (ward: Ward, capability = 'agent') => ward.keys.control(capability)
const kinds = async (ward: Ward): Promise<FindingKind[]> => (await ward.findings()).map(({ kind }) => kind).sort()

test('a pending entry of a task that has its end is acked and deleted, and no other', async () => {
  const ward = new Ward()
  await ward.alive('w')
  const ended = await ward.entry('ended')
  const running = await ward.entry('running')
  await ward.take('w', 60_000)
  const young = await ward.entry('young')
  await ward.take('w-2')
  await ward.record('ended', `C:1:${ended}:w`)
  await ward.record('young', `C:1:${young}:w-2`)
  await ward.record('running', `R:1:${running}:w`)
  const found = await ward.findings()
  expect(found).toMatchObject([
    { kind: 'needless-entry', why: 'ended', entryId: ended, messageId: 'ended', consumer: 'w', priority: 'normal' },
    // Its lease ran out, and the one worker there is does not take it.
    { kind: 'not-taken-over', entryId: running, severity: 'warning', fixable: false },
  ])
  const before = await ward.snapshot()
  await ward.findings({ fix: true })
  expect(changed(before, await ward.snapshot())).toEqual([control(ward)])
  const ids = (await ward.redis.xrange(control(ward), '-', '+')).map(([id]) => id)
  expect(ids).toEqual([running, young])
  expect(await ward.pending()).toBe(2)
})

test('an entry whose turn is over is acked and deleted; one whose turn may come is not', async () => {
  const ward = new Ward()
  const stale = await ward.entry('m', { turn: '1' })
  const first = await ward.entry('m')
  const future = await ward.entry('m', { turn: '9' })
  await ward.take('gone', 60_000)
  const live = await ward.entry('m', { turn: '2' })
  await ward.record('m', 'Q:2::')
  const found = await ward.findings({ fix: true })
  expect(found.filter(({ kind }) => kind === 'needless-entry')).toMatchObject([
    { why: 'stale', entryId: stale, fixed: true },
    { why: 'stale', entryId: first, fixed: true },
  ])
  expect((await ward.redis.xrange(control(ward), '-', '+')).map(([id]) => id)).toEqual([future, live])
})

test('the entry of a failure whose dead letter may be missing is left to a worker', async () => {
  const ward = new Ward()
  const id = await ward.entry('m')
  await ward.take('gone', 60_000)
  await ward.record('m', `F:1:${id}:gone`)
  expect((await ward.findings({ fix: true })).filter(({ kind }) => kind !== 'no-worker')).toEqual([])
  expect(await ward.pending()).toBe(1)
})

test('entries without a record are the next worker’s', async () => {
  const ward = new Ward()
  await ward.alive('w')
  await ward.entry('unknown')
  await ward.add({ data: 'poison' })
  await ward.add({ other: 'poison' })
  expect(await kinds(ward)).toEqual([])
})

test('a pending entry that was deleted is acked', async () => {
  const ward = new Ward()
  const ids = [await ward.entry('m-1'), await ward.entry('m-2'), await ward.entry('m-3')]
  await ward.take('gone', 60_000)
  await ward.redis.xdel(control(ward), ids[0] as string, ids[2] as string)
  const found = await ward.findings({ fix: true })
  expect(found.filter(({ kind }) => kind === 'ghost-entry')).toMatchObject([
    { entryId: ids[0], consumer: 'gone', fixed: true },
    { entryId: ids[2], consumer: 'gone', fixed: true },
  ])
  expect(await ward.pending()).toBe(1)
})

test('an entry that was acked and not deleted: needed ones come back, needless ones go, unknown ones stay', async () => {
  const ward = new Ward()
  const ids = {
    needed: await ward.entry('needed'),
    ended: await ward.entry('ended'),
    unknown: await ward.entry('unknown'),
  }
  await ward.take('gone')
  await ward.redis.xack(control(ward), GROUP, ...Object.values(ids))
  const done = await ward.record('ended', `C:1:${ids.ended}:gone`)
  const needed = await ward.record('needed', 'Q:0::')
  const found = await ward.findings({ fix: true })
  expect(found).toMatchObject([
    { kind: 'acked-entry', why: 'waits-for-it', entryId: ids.needed, fixed: true },
    { kind: 'acked-entry', why: 'ended', entryId: ids.ended, fixed: true },
    { kind: 'acked-entry', why: 'unknown-task', entryId: ids.unknown, fixable: false, fixed: false },
  ])
  expect((await ward.redis.xrange(control(ward), '-', '+')).map(([id]) => id)).toEqual([ids.needed, ids.unknown])
  await ward.work(() => 'ran', { workerId: 'w' })
  expect(await ward.client().result({ sessionId: 's', messageId: 'needed', timeoutMs: 10_000 })).toMatchObject({
    data: 'ran',
  })
  expect(await ward.redis.hget(needed, 'fence')).toBe(`C:1:${ids.needed}:w`)
  expect(await ward.redis.hget(done, 'fence')).toBe(`C:1:${ids.ended}:gone`)
})

test('a consumer that owns nothing and whose worker is gone is removed, and no other', async () => {
  const ward = new Ward({ consumerIdleMs: 0 })
  await ward.alive('alive')
  await ward.entry('m')
  await ward.take('owner')
  for (const name of ['gone', 'alive']) {
    await ward.redis.xgroup('CREATECONSUMER', control(ward), GROUP, name)
  }
  expect(await ward.findings({ fix: true })).toMatchObject([{ kind: 'idle-consumer', consumer: 'gone', fixed: true }])
  const left = (await ward.redis.xinfo('CONSUMERS', control(ward), GROUP)) as [string, string][]
  expect(left.map(([, name]) => name).sort()).toEqual(['alive', 'owner'])
  expect(await new Ward().findings()).toEqual([])
})

test('a second group is told, and left alone', async () => {
  const ward = new Ward()
  await ward.group()
  await ward.group('agent', 'another')
  const before = await ward.snapshot()
  expect(await ward.findings({ fix: true })).toMatchObject([
    { kind: 'foreign-group', severity: 'warning', group: 'another', capability: 'agent', fixable: false },
  ])
  expect(changed(before, await ward.snapshot())).toEqual([])
  expect(await ward.findings({ consumerGroup: 'another' })).toMatchObject([{ group: GROUP }])
})

test('tasks for which there is no worker are told once per lane, as no fault', async () => {
  const ward = new Ward()
  const old = String(Date.now() - 120_000)
  await ward.group()
  for (let i = 0; i < 30; i += 1) {
    await ward.redis.xadd(control(ward), `${old}-${i + 1}`, 'data', envelope(`m-${i}`, 's'))
  }
  await ward.take('gone', 60_000)
  await ward.redis.xadd(`${control(ward)}:low`, `${old}-1`, 'data', envelope('low', 's'))
  expect(await ward.findings()).toMatchObject([
    { kind: 'no-worker', severity: 'info', priority: expect.any(String), waiting: expect.any(Number) },
    { kind: 'no-worker', severity: 'info', fixable: false },
  ])
  expect((await ward.findings()).map((finding) => 'waiting' in finding && finding.waiting).sort()).toEqual([1, 30])
  await ward.alive('w', ['other'])
  expect(await kinds(ward)).toEqual(['no-worker', 'no-worker'])
})

test('tasks that wait for another version than those that live are told, with the version', async () => {
  const ward = new Ward()
  await ward.alive('w')
  const lane = ward.keys.control('agent', 'normal', 'v1')
  await ward.redis.xgroup('CREATE', lane, 'agent_engines', '0', 'MKSTREAM')
  await ward.redis.xadd(lane, `${Date.now() - 120_000}-1`, 'data', envelope('m', 's'), 'turn', '1')
  const [finding] = await ward.findings()
  expect(finding).toMatchObject({ kind: 'no-worker', version: 'v1', text: expect.stringContaining("version 'v1'") })
})

test('tasks that are for one worker only are told with its name, though others offer the capability', async () => {
  const ward = new Ward()
  await ward.alive('w')
  const lane = ward.keys.control('agent', '@only')
  await ward.redis.xgroup('CREATE', lane, GROUP, '0', 'MKSTREAM')
  await ward.redis.xadd(lane, `${Date.now() - 120_000}-1`, 'data', envelope('m', 's'))
  expect(await ward.findings()).toMatchObject([
    {
      ...{ kind: 'no-worker', priority: '@only', remedy: expect.stringContaining("Start worker 'only'") },
      text: expect.stringMatching(/only for worker 'only'.* that worker is not there, or does not offer 'agent'\.$/),
    },
  ])
})

test('long streams are walked to their end, large entries and pending ones included', async () => {
  const ward = new Ward()
  await ward.alive('w')
  await ward.group()
  const fill = ward.redis.pipeline()
  for (let i = 0; i < 3_000; i += 1) fill.xadd(control(ward), '*', 'data', envelope(`m-${i}`, 's'))
  fill.xadd(control(ward), '*', 'data', envelope('large', 's', { content: 'x'.repeat(900_000) }))
  await fill.exec()
  for (let i = 0; i < 4; i += 1) await ward.take('w', 60_000)
  const last = await ward.entry('last')
  await ward.take('w', 60_000)
  await ward.record('last', 'C:1:1-1:w')
  const found = await ward.findings()
  expect(found.filter(({ kind }) => kind === 'needless-entry')).toMatchObject([{ entryId: last }])
  expect(found.filter(({ kind }) => kind === 'not-taken-over')).toHaveLength(3_001)
})

test('a limit is told, and nothing is concluded from what was not seen', async () => {
  const ward = new Ward()
  for (let i = 0; i < 30; i += 1) {
    await ward.record(`m-${i}`, 'Q:0::')
    await ward.entry(`m-${i}`)
  }
  await ward.record('lost', 'Q:0::')
  const { findings, notes } = await ward.audit.diagnose({ intervalMs: 20, limit: 10, fix: true })
  expect(findings).toEqual([])
  // Of the records another page may have been looked at, or not.
  expect(notes).toContainEqual(expect.stringContaining('first 10 entries'))
  expect((await ward.findings({ limit: 1_000 })).map(({ kind }) => kind)).toEqual(['waiting-without-entry'])
})

test('one capability: the others are neither looked at nor repaired', async () => {
  const ward = new Ward()
  for (const agent of ['one', 'two']) {
    await ward.record(`lost-${agent}`, 'Q:0::', { agent_type: agent })
    await ward.group(agent)
    await ward.redis.xadd(ward.keys.dead(agent), '*', 'reason', 'x')
  }
  expect(await ward.findings({ capability: 'one', fix: true })).toMatchObject([
    { kind: 'dead-letters', capability: 'one', count: 1 },
    { kind: 'waiting-without-entry', agentType: 'one', fixed: true },
  ])
  expect(await ward.redis.hget(ward.keys.task('s', 'lost-two'), 'fence')).toBe('Q:0::')
})
