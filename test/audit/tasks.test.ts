import { expect, test } from 'vitest'
import { Abandonment } from '../../src/audit/abandonment.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskFactsReader } from '../../src/store/task-facts.ts'
import { connect } from '../redis/harness.ts'
import { changed, GROUP, Ward } from './harness.ts'

const DAY_MS = DEFAULT_RETENTION.resultTtlMs

test('a queued task without an entry ends as FAILED, with one done event', async () => {
  const ward = new Ward()
  const record = await ward.record('lost', 'Q:0::')
  await ward.record('fine', 'Q:0::')
  await ward.entry('fine')
  expect(await ward.findings()).toEqual([
    {
      ...{ kind: 'waiting-without-entry', severity: 'fault', sessionId: 's', messageId: 'lost', agentType: 'agent' },
      ...{ status: 'QUEUED', fixable: true, fixed: false },
      text: expect.stringContaining('Task lost of session s is QUEUED'),
      remedy: expect.stringContaining('GW_TASK_STRANDED'),
    },
  ])
  const before = await ward.snapshot()
  expect(await ward.findings({ fix: true })).toMatchObject([{ messageId: 'lost', fixed: true }])
  expect(changed(before, await ward.snapshot())).toEqual([ward.keys.data('s'), ward.keys.session('s'), record].sort())
  expect(await ward.client().result({ sessionId: 's', messageId: 'lost' })).toMatchObject({
    ...{
      status: 'FAILED',
      error: { code: 'GW_TASK_STRANDED', message: expect.stringContaining('cannot run any more') },
    },
  })
  expect(await ward.dones('s', 'lost')).toHaveLength(1)
  expect(await ward.redis.pttl(record)).toBeGreaterThan(DAY_MS / 2)
  expect(await ward.findings()).toEqual([])
})

test('one that waited for an answer and has it goes back on its stream', async () => {
  const ward = new Ward()
  const record = await ward.record('m', 'Q:3::', { envelope: '{"the":"envelope"}', home: 'agent high', journal: 'j' })
  expect(await ward.findings({ fix: true })).toMatchObject([{ kind: 'waiting-without-entry', fixed: true }])
  expect(await ward.redis.xrange(ward.keys.control('agent', 'high'), '-', '+')).toMatchObject([
    [expect.any(String), ['data', '{"the":"envelope"}', 'turn', '3']],
  ])
  expect(await ward.redis.hget(record, 'fence')).toBe('Q:3::')
  expect(await ward.dones('s', 'm')).toEqual([])
})

test('one whose cancel was asked for ends as CANCELLED', async () => {
  const ward = new Ward()
  const record = await ward.record('m', 'R:3:5-5:gone', { cancel: '{"reason":"left"}', written: '4' })
  await ward.group()
  expect(await ward.findings({ fix: true })).toMatchObject([{ kind: 'running-without-entry', fixed: true }])
  expect(await ward.redis.hmget(record, 'fence', 'written')).toEqual(['X:3:5-5:gone', '5'])
  expect(await ward.dones('s', 'm')).toMatchObject([{ data: { status: 'CANCELLED' } }])
})

test('an entry of another turn does not start a task, one of its turn does', async () => {
  const ward = new Ward()
  await ward.record('old-turn', 'Q:3::')
  await ward.record('own-turn', 'Q:3::')
  await ward.record('first', 'Q:0::')
  await ward.record('begun', 'Q:1::')
  await ward.entry('old-turn', { turn: '2' })
  await ward.entry('own-turn', { turn: '3' })
  await ward.entry('first')
  await ward.entry('begun')
  const lost = (await ward.findings()).filter(({ kind }) => kind === 'waiting-without-entry')
  expect(lost.map((finding) => 'messageId' in finding && finding.messageId).sort()).toEqual(['begun', 'old-turn'])
})

test('entries of every lane count, also one that is handed out', async () => {
  const ward = new Ward()
  await ward.alive('w')
  for (const [messageId, lane] of [
    ['m-1', 'agent:high'],
    ['m-2', 'agent:low'],
    ['m-3', 'agent'],
  ] as const) {
    await ward.record(messageId, 'Q:0::')
    await ward.entry(messageId, {}, lane)
  }
  await ward.take('w')
  expect(await ward.findings()).toEqual([])
})

test('what the agenda holds is fine, what it forgot is found', async () => {
  const ward = new Ward()
  await ward.record('held', 'D:0::')
  await ward.holdBack('held', '0')
  await ward.record('waiting', 'T:2:5-5:')
  await ward.holdBack('waiting', '2')
  await ward.record('promoted', 'D:0::')
  await ward.entry('promoted', { turn: '0' })
  // Its attempt failed, and its worker died before it told the agenda; whoever takes the entry over does that.
  const entryId = await ward.entry('parking')
  await ward.take('gone')
  await ward.record('parking', `T:1:${entryId}:`)
  expect(await ward.findings()).toEqual([])
  await ward.record('forgotten', 'D:0::')
  await ward.record('wrong-turn', 'T:2:6-6:')
  await ward.holdBack('wrong-turn', '1')
  const before = await ward.snapshot()
  const found = await ward.findings({ fix: true })
  expect(found.map((finding) => [finding.kind, 'messageId' in finding && finding.messageId, finding.fixed])).toEqual(
    expect.arrayContaining([
      ['waiting-without-entry', 'forgotten', true],
      ['waiting-without-entry', 'wrong-turn', true],
    ]),
  )
  expect(found).toHaveLength(2)
  expect(changed(before, await ward.snapshot())).toEqual(
    [
      ...[ward.keys.data('s'), ward.keys.session('s')],
      ...['forgotten', 'wrong-turn'].map((id) => ward.keys.task('s', id)),
    ].sort(),
  )
  expect(await ward.client().getTask({ sessionId: 's', messageId: 'wrong-turn' })).toMatchObject({ status: 'FAILED' })
  expect(await ward.findings()).toEqual([])
})

test('a running task whose entry is gone ends, unless its worker is alive', async () => {
  const ward = new Ward()
  await ward.group()
  await ward.alive('alive')
  const dead = await ward.record('dead', 'R:1:5-5:gone')
  await ward.record('live', 'R:1:6-6:alive')
  const before = await ward.snapshot()
  const findings = await ward.findings({ fix: true })
  expect(findings.map((finding) => [finding.kind, 'messageId' in finding && finding.messageId, finding.fixed])).toEqual(
    expect.arrayContaining([
      ['running-without-entry', 'dead', true],
      ['running-without-entry', 'live', false],
    ]),
  )
  expect(findings).toHaveLength(2)
  expect(changed(before, await ward.snapshot())).toEqual([ward.keys.data('s'), ward.keys.session('s'), dead].sort())
  expect(await ward.redis.hget(dead, 'fence')).toBe('F:1:5-5:gone')
})

test('a running task whose entry was acked but still lies there is taken over by a worker', async () => {
  const ward = new Ward()
  const id = await ward.entry('m')
  await ward.take('gone')
  const record = await ward.record('m', `R:1:${id}:gone`)
  await ward.redis.xack(ward.keys.control('agent'), GROUP, id)
  const before = await ward.snapshot()
  expect(await ward.findings({ fix: true })).toMatchObject([
    { kind: 'running-without-entry', entry: 'acked', workerId: 'gone', entryId: id, fixed: true },
  ])
  expect(changed(before, await ward.snapshot())).toEqual([ward.keys.control('agent')])
  expect(await ward.pending()).toBe(1)
  await ward.work(() => 'done at last', { workerId: 'w' })
  expect(await ward.client().result({ sessionId: 's', messageId: 'm', timeoutMs: 10_000 })).toMatchObject({
    data: 'done at last',
  })
  expect(await ward.redis.hget(record, 'fence')).toBe(`C:2:${id}:w`)
  await ward.settled()
})

test('a task that is handed out, or is yet to be handed out, is fine', async () => {
  const ward = new Ward()
  await ward.alive('w')
  const pending = await ward.entry('m-1')
  await ward.take('w')
  await ward.record('m-1', `R:1:${pending}:w`)
  // Its group was made anew, and begins at the beginning: the entry comes again, and is still the live one.
  const again = await ward.entry('m-2', {}, 'other')
  await ward.record('m-2', `R:1:${again}:w`, { agent_type: 'other' })
  await ward.alive('w-2', ['other'])
  expect(await ward.findings()).toEqual([])
})

test('what moves between the look and the repair is not touched', async () => {
  const ward = new Ward()
  const task = { sessionId: 's', messageId: 'm' }
  const record = await ward.record('m', 'Q:0::')
  const redis = connect().client('patient')
  const [facts] = await new TaskFactsReader(redis, ward.keys).read([task])
  await ward.redis.hset(record, 'fence', 'R:1:7-7:w')
  const abandonment = new Abandonment(redis, ward.keys, DEFAULT_RETENTION)
  expect(await abandonment.end(facts as NonNullable<typeof facts>, 'no reason')).toBe(false)
  expect(await ward.redis.hget(record, 'fence')).toBe('R:1:7-7:w')
  expect(await ward.redis.exists(ward.keys.data('s'))).toBe(0)
})

test('a key of another kind keeps one repair from being made, and no other; it is told', async () => {
  const ward = new Ward()
  const data = ward.keys.data('broken')
  await ward.redis.set(data, 'x')
  await ward.redis.pexpire(data, 60_000)
  for (const sessionId of ['a', 'broken', 'c']) await ward.record('m', 'Q:0::', {}, sessionId)
  const { findings, notes } = await ward.audit.diagnose({ fix: true, intervalMs: 20 })
  const fixed = findings.flatMap((finding) => ('sessionId' in finding ? [[finding.sessionId, finding.fixed]] : []))
  expect(fixed.sort()).toEqual([
    ['a', true],
    ['broken', false],
    ['c', true],
  ])
  expect(notes).toEqual([expect.stringContaining(data)])
  expect(await ward.redis.hget(ward.keys.task('broken', 'm'), 'fence')).toBe('Q:0::')
})
