import { expect, test } from 'vitest'
import type { Explanation } from '../../src/audit/explanation.ts'
import { envelope, Gate } from '../worker/harness.ts'
import { GROUP, Ward } from './harness.ts'

const REF = { sessionId: 's', messageId: 'm' }

/** A ward and how it explains the task `m`. */
function open(): { ward: Ward; explain: (messageId?: string) => Promise<Explanation> } {
  const ward = new Ward()
  const client = ward.client()
  return { ward, explain: (messageId = 'm') => client.explain({ sessionId: 's', messageId }) }
}

test('nothing is known of it', async () => {
  const { explain } = open()
  expect(await explain()).toEqual({
    ...{ ...REF, state: 'unknown', deadLetter: null, text: expect.stringContaining('never accepted') },
  })
})

test('nothing is known of it, but a dead letter is there', async () => {
  const { ward, explain } = open()
  const letter = { reason: 'bad-json', detail: 'no JSON', session_id: 's', message_id: 'm' }
  await ward.redis.zadd(ward.keys.deadCapabilities(), '7', 'agent')
  await ward.redis.xadd(ward.keys.dead('agent'), '7-7', ...Object.entries(letter).flat())
  expect(await explain()).toMatchObject({
    ...{ state: 'unknown', deadLetter: { capability: 'agent', id: '7-7', reason: 'bad-json' } },
    text: expect.stringMatching(/dead letters of 'agent' as 7-7: bad-json.*byclaw dead redrive 7-7/),
  })
})

test('it is queued: its place in its lane, and who is there', async () => {
  const { ward, explain } = open()
  await ward.entry('first')
  await ward.take('w')
  for (const messageId of ['a', 'b']) await ward.entry(messageId)
  const entryId = await ward.entry('m')
  await ward.record('m', 'Q:0::')
  expect(await explain()).toMatchObject({
    ...{ state: 'queued', status: 'QUEUED', priority: 'normal', entryId, position: 3, workers: 0, freeSlots: 0 },
    text: "It is queued at position 3 on 'agent', behind 2 others. No live worker offers 'agent': it waits for one to start.",
  })
  await ward.alive('w')
  await ward.alive('other', ['other'])
  expect(await explain()).toMatchObject({
    ...{ workers: 1, freeSlots: 9 },
    text: expect.stringContaining("1 live worker offers 'agent', with 9 free slots."),
  })
})

test('it is queued on another lane, for a further attempt', async () => {
  const { ward, explain } = open()
  await ward.entry('m', {}, 'agent')
  await ward.entry('m', { turn: '2' }, 'agent:low')
  await ward.record('m', 'T:2::', {
    attempt: '2',
    failure_log: '[{"attempt":2,"code":"GW_TASK_FAILED","message":"no"}]',
  })
  expect(await explain()).toMatchObject({
    ...{ state: 'queued', status: 'RETRYING', priority: 'low', position: 1, attempt: 3 },
    text: expect.stringContaining("on 'agent' (low), behind 0 others. No live worker offers 'agent'"),
  })
  expect((await explain()).text).toContain('It is attempt 3, after: no.')
})

test('it was handed out and not begun, to a live worker and to one that is gone', async () => {
  const { ward, explain } = open()
  await ward.alive('w')
  await ward.entry('m')
  await ward.record('m', 'Q:0::')
  await ward.take('w')
  expect(await explain()).toMatchObject({
    ...{ state: 'taken', takeoverInMs: null, worker: { workerId: 'w', host: 'h', pid: 7, leaseMs: 5_000 } },
    text: expect.stringMatching(/^Worker w \(h:7, seen .* ago\) was given it and has not begun it yet/),
  })
  await ward.entry('n')
  await ward.record('n', 'Q:0::')
  await ward.take('gone', 1_000)
  const taken = await explain('n')
  expect(taken).toMatchObject({ state: 'taken', worker: { workerId: 'gone', host: null }, workers: 1 })
  expect(taken.text).toMatch(/Another worker takes it over in about \d+m?s\./)
})

test('it was handed out on its way to the lane of its version, and is not there yet', async () => {
  const { ward, explain } = open()
  await ward.alive('w')
  const entryId = await ward.entry('m', { turn: '1' })
  await ward.record('m', `Q:2:${entryId}:`, { journal: 'j', version: '2 1.0', lane_version: '1.0' })
  await ward.take('gone', 1_000)
  const taken = await explain()
  expect(taken).toMatchObject({ state: 'taken', entryId, worker: { workerId: 'gone', host: null }, workers: 1 })
  expect(taken.text).toMatch(/Another worker takes it over in about \d+m?s\./)
  expect(await ward.findings()).toEqual([])
  const lane = ward.keys.control('agent', 'normal', '1.0')
  await ward.redis.xgroup('CREATE', lane, GROUP, '0', 'MKSTREAM')
  await ward.redis.xadd(lane, '*', 'data', envelope('m', 's'), 'turn', '2')
  expect(await explain()).toMatchObject({ state: 'queued', version: '1.0' })
})

test('it is held back, or waits for its next attempt', async () => {
  const { ward, explain } = open()
  const dueAt = Date.now() + 3_600_000
  await ward.record('m', 'D:0::', { due_at: String(dueAt) })
  await ward.holdBack('m', '0')
  expect(await explain()).toMatchObject({
    ...{ state: 'held-back', status: 'DELAYED', dueAt, attempt: 1 },
    text: `It is held back for another 59m, until ${new Date(dueAt).toISOString()}, as its sender asked.`,
  })
  const log = JSON.stringify([{ attempt: 1, code: 'GW_TASK_FAILED', message: 'no city', at: 1, workerId: 'w' }])
  await ward.record('n', 'T:1:5-5:', { due_at: String(dueAt), attempt: '1', failure_log: log })
  await ward.holdBack('n', '1')
  expect(await explain('n')).toMatchObject({
    ...{ state: 'held-back', status: 'RETRYING', attempt: 2, error: { code: 'GW_TASK_FAILED', message: 'no city' } },
    text: expect.stringMatching(
      /^It waits for attempt 2, for another 59m, until .* because the last attempt failed: no city/,
    ),
  })
})

test('it runs: where, since when, and for how long the lease lasts', async () => {
  const { ward, explain } = open()
  const gate = new Gate()
  await ward.work(() => gate.pass(), { workerId: 'w', leaseMs: 2_000 })
  await ward.client().sendMessage({ ...REF, targetAgentType: 'agent', content: 'x' })
  await gate.reached(1)
  expect(await explain()).toMatchObject({
    ...{ state: 'running', attempt: 1, epoch: 1, takeoverInMs: null, cancel: null, workers: 1 },
    worker: { workerId: 'w', pid: process.pid, leaseMs: 2_000 },
    text: expect.stringMatching(
      /^It runs on worker w \(\S+:\d+, seen .* ago\) for .*, attempt 1\. Its lease was renewed/,
    ),
  })
  const cancel = JSON.stringify({ reason: 'user left', requestedBy: 'admin' })
  await ward.redis.hset(ward.keys.task('s', 'm'), 'cancel', cancel)
  expect((await explain()).text).toContain('Its cancel was requested by admin (user left): it will end CANCELLED.')
  gate.open()
})

test('its worker is gone, or silent', async () => {
  const { ward, explain } = open()
  const id = await ward.entry('m')
  await ward.take('gone', 1_000)
  await ward.record('m', `R:2:${id}:gone`, { started_at: '1000', attempt: '2' })
  expect((await explain()).text).toMatch(
    /No live worker offers 'agent': it waits for one to start, which then takes it/,
  )
  await ward.alive('other')
  const gone = await explain()
  expect(gone).toMatchObject({ state: 'running', worker: { host: null }, attempt: 2, epoch: 2, workers: 1 })
  expect(gone.text).toMatch(/^Attempt 2 began on worker gone, which is gone: .* takes it over in about \d+m?s\.$/)
  const silent = await ward.entry('n')
  await ward.alive('silent')
  await ward.take('silent', 60_000)
  await ward.record('n', `R:1:${silent}:silent`)
  expect((await explain('n')).text).toMatch(
    /which is silent: .* A worker takes it over as soon as it has a free slot\.$/,
  )
})

test('it is for one worker only, which is gone: no other takes it over', async () => {
  const { ward, explain } = open()
  await ward.alive('other')
  const lane = ward.keys.control('agent', '@only')
  await ward.redis.xgroup('CREATE', lane, GROUP, '0', 'MKSTREAM')
  const ids: string[] = []
  for (const messageId of ['m', 'n']) {
    ids.push((await ward.redis.xadd(lane, '*', 'data', envelope(messageId, 's'))) as string)
  }
  await ward.redis.xreadgroup('GROUP', GROUP, 'only', 'STREAMS', lane, '>')
  await ward.redis.xclaim(lane, GROUP, 'only', 0, ...ids, 'IDLE', 60_000, 'JUSTID')
  await ward.record('m', `R:1:${ids[0]}:only`, { lane: '@only' })
  await ward.record('n', 'Q:0::', { lane: '@only' })
  const text = expect.stringMatching(
    /Worker 'only' is not there, or does not offer 'agent': it waits for that very worker, which then takes it over\.$/,
  )
  expect(await explain('m')).toMatchObject({ state: 'running', priority: '@only', workers: 0, text })
  expect(await explain('n')).toMatchObject({ state: 'taken', priority: '@only', workers: 0, text })
})

test('nothing will move it', async () => {
  const { ward, explain } = open()
  await ward.record('m', 'Q:0::')
  await ward.record('n', 'R:1:5-5:w')
  await ward.record('d', 'D:0::')
  await ward.record('t', 'T:1:5-5:')
  for (const [messageId, status] of [
    ['m', 'QUEUED'],
    ['n', 'RUNNING'],
    ['d', 'DELAYED'],
    ['t', 'RETRYING'],
  ] as const) {
    expect(await explain(messageId)).toMatchObject({
      ...{ state: 'stranded', status, isGuess: false, text: expect.stringContaining('byclaw doctor --fix') },
    })
  }
})

test('it has its end: how, when, why, and for how long that is known', async () => {
  const { ward, explain } = open()
  await ward.record('m', 'C:1:1-1:w', { finished_at: '1000', attempt: '1' })
  expect(await explain()).toMatchObject({
    ...{ state: 'ended', status: 'COMPLETED', attempt: 1, finishedAt: 1_000, error: null, deadLetter: null },
    text: expect.stringMatching(
      /^It ended COMPLETED at 1970-01-01T00:00:01\.000Z, in attempt 1\. Its result is kept for another (?:59m|1h)\.$/,
    ),
  })
  const failure_log = JSON.stringify([{ code: 'GW_TASK_FAILED', message: 'not yet' }])
  await ward.record('r', 'C:2:1-1:w', { finished_at: '1000', attempt: '2', failure_log })
  expect(await explain('r')).toMatchObject({
    ...{ status: 'COMPLETED', attempt: 2, error: null },
    text: expect.stringMatching(
      /^It ended COMPLETED at 1970-01-01T00:00:01\.000Z, in attempt 2\. Its result is kept for another (?:59m|1h)\.$/,
    ),
  })
  const error = JSON.stringify({ code: 'GW_TASK_FAILED', message: 'no city' })
  await ward.record('n', 'F:3:1-1:w', { finished_at: '1000', attempt: '3', error })
  const letter = { reason: 'retries-exhausted', detail: 'no city', session_id: 's', message_id: 'n' }
  await ward.redis.zadd(ward.keys.deadCapabilities(), '7', 'agent')
  await ward.redis.xadd(ward.keys.dead('agent'), '7-7', ...Object.entries(letter).flat())
  expect(await explain('n')).toMatchObject({
    ...{ state: 'ended', status: 'FAILED', attempt: 3, deadLetter: { reason: 'retries-exhausted' } },
    text: expect.stringMatching(
      /in attempt 3: no city \(GW_TASK_FAILED\).* It lies in the dead letters of 'agent' as 7-7/,
    ),
  })
})

test('it is suspended', async () => {
  const { ward, explain } = open()
  await ward.record('m', 'W:1:1-1:')
  expect(await explain()).toMatchObject({ state: 'suspended', text: expect.stringContaining('waits for an answer') })
})

test('it is in a state of a later version', async () => {
  const { ward, explain } = open()
  await ward.record('m', 'Z:1::')
  expect(await explain()).toMatchObject({ state: 'other', fence: 'Z:1::', text: expect.stringContaining("'Z:1::'") })
})

test('looking changes nothing, and odd ids are refused', async () => {
  const { ward, explain } = open()
  await ward.redis.zadd(ward.keys.workers(), '5', 'gone')
  await ward.entry('m')
  await ward.record('m', 'Q:0::')
  const before = await ward.snapshot()
  await explain()
  expect(await ward.snapshot()).toEqual(before)
  await expect(explain('a b')).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
})
