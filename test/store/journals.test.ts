import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, test } from 'vitest'
import { Asks } from '../../src/dispatch/asks.ts'
import type { Keys } from '../../src/redis/keys.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { endedFence } from '../../src/store/fence.ts'
import { Journals } from '../../src/store/journals.ts'
import { KinReader } from '../../src/store/kin.ts'
import { parseResult } from '../../src/store/recorded-result.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { connect, openStore } from '../redis/harness.ts'

let journals: Journals
let records: TaskRecords
let writer: DataWriter
let keys: Keys
let bare: Redis
const ref = { sessionId: 's', messageId: 'parent' }
const FENCE = 'R:1:1-0:w'
const op = '/call:child#0'
const called = {
  ...{ messageId: 'child', agentType: 'child', traceId: 't', userCode: 'u', parentMessageId: 'parent' },
  ...({ replies: true, priority: 'normal', data: 'envelope of the child' } as const),
}
const opening = { ...ref, fence: FENCE, op, entry: '{"k":"call"}', sum: '', called }
const parking = {
  ...({ ...ref, fence: FENCE, waitsFor: 'agent', capability: 'parent', priority: 'high' } as const),
  ...{ data: 'envelope of the parent', ops: [op] },
}

beforeEach(async () => {
  const store = openStore()
  ;({ keys, bare } = store)
  journals = new Journals(store.redis, keys)
  records = new TaskRecords(store.redis, keys)
  writer = new DataWriter(store.redis, keys, DEFAULT_RETENTION)
  await records.admit([{ ...ref, agentType: 'parent', traceId: 't', parentMessageId: '', userCode: '' }])
  await records.begin('w', [{ ...ref, entryId: '1-0', turn: '' }])
})

const fence = (messageId: string) => bare.hget(keys.task('s', messageId), 'fence')
const waiting = async (capability: string, priority: 'high' | 'normal' = 'normal') =>
  (await bare.xrange(keys.control(capability, priority), '-', '+')).map(([, fields]) => fields)
const inbox = async (worker = 'w') =>
  (await bare.xrange(keys.inbox(worker), '-', '+')).map(([, fields]) => fields.slice(2))
/** Ends the child as its owner, or as whoever cancels it. */
async function endChild(
  status: 'COMPLETED' | 'CANCELLED' = 'COMPLETED',
  fields: Record<string, string> = { result: '7' },
) {
  const held = (await fence('child')) as string
  const end = { fence: endedFence(held, status), fields }
  const commit = { sessionId: 's', messageId: 'child', fence: held, first: 1, events: ['{}'], end }
  const answer = await writer.commit(() => commit)
  if (answer.ok) await writer.tell(answer.tells ?? [])
  return answer
}

describe('open', () => {
  test('notes the operation, makes the called task and puts it on its stream; again, while it is unbound', async () => {
    expect(await journals.open(opening)).toEqual({ status: 'noted', text: '' })
    expect(await records.get({ sessionId: 's', messageId: 'child' })).toMatchObject({
      ...{ status: 'QUEUED', agentType: 'child', parentMessageId: 'parent', userCode: 'u', traceId: 't' },
    })
    expect(await waiting('child')).toEqual([['data', 'envelope of the child']])
    const { fields, now } = await journals.load(ref)
    expect([...fields.keys()]).toEqual([op])
    expect(Number(fields.get(op)?.split(' ')[0])).toBeLessThanOrEqual(now)
    expect(await journals.open({ ...opening, entry: '{"k":"other"}' })).toEqual({ status: 'noted', text: '' })
    expect(await waiting('child')).toHaveLength(2)
    expect((await journals.load(ref)).fields.get(op)).toBe(fields.get(op))
    const child = { sessionId: 's', messageId: 'child' }
    await records.begin('w-2', [{ ...child, entryId: '5-0', turn: '' }])
    await journals.open(opening)
    expect(await waiting('child')).toHaveLength(2)
    expect(await bare.hget(keys.task('s', 'child'), 'reply_to')).not.toContain('\n')
  })

  test('is refused for who does not own the task, or whose task is cancelled: nothing is called then', async () => {
    const lost = await journals.open({ ...opening, fence: 'R:0:1-0:w' })
    expect(lost).toEqual({ status: 'lost', holder: FENCE })
    await records.requestCancel(ref, { reason: 'why', requestedBy: 'me' })
    expect(await journals.open(opening)).toEqual({
      ...{ status: 'cancelled', cancel: { reason: 'why', requestedBy: 'me' } },
    })
    expect([await fence('child'), await bare.exists(keys.journal('s', 'parent'))]).toEqual([null, 0])
  })

  test('of a task that has its end already answers that end', async () => {
    await journals.open({ ...opening, called: { ...called, replies: false } })
    await endChild()
    const { text } = (await journals.open({ ...opening, op: '/call:child#1' })) as { text: string }
    expect(parseResult(text)).toMatchObject({ order: 1, attempt: 1, value: { s: 'C', r: '7' } })
  })

  test('of a task whose answer has come does not start it again when its record has expired', async () => {
    await journals.open(opening)
    await endChild()
    await bare.del(keys.task('s', 'child'), keys.control('child'))
    expect(await journals.open(opening)).toMatchObject({ status: 'noted', text: expect.stringMatching(/^1 1 \{/) })
    expect(await fence('child')).toBeNull()
    expect(await waiting('child')).toEqual([])
  })
})

describe('the end of a called task', () => {
  test('is written once into the journal of who waits, and told to his worker', async () => {
    await journals.open(opening)
    await endChild()
    const text = `1 1 ${JSON.stringify({ s: 'C', r: '7' })}`
    const recorded = (await journals.results(ref, [op])).get(op) as string
    expect(parseResult(recorded)).toEqual(parseResult(text))
    expect(await inbox()).toEqual([['wake', `reply s parent ${op}`, 'result', recorded]])
    // Should nobody read it any more.
    expect(await bare.pttl(keys.inbox('w'))).toBeGreaterThan(0)
    await journals.replyAgain({ sessionId: 's', messageId: 'child' })
    expect((await journals.results(ref, [op])).get(op)).toBe(recorded)
    expect(await inbox()).toHaveLength(2)
  })

  test('is told again to who asks again, because he did not hear the answer to his commit', async () => {
    await journals.open(opening)
    await endChild()
    expect(await inbox()).toHaveLength(1)
    const end = { fence: endedFence('Q:0::', 'COMPLETED'), fields: { result: '7' } }
    const again = { sessionId: 's', messageId: 'child', fence: 'Q:0::', first: 1, events: ['{}'], end }
    expect(await writer.commit(() => again)).toMatchObject({ ok: true })
    expect(await inbox()).toHaveLength(2)
  })

  test('is told again by whoever takes its entry, since its worker may have died before he told', async () => {
    await journals.open(opening)
    await endChild()
    const [again] = await records.begin('w-2', [{ sessionId: 's', messageId: 'child', entryId: '9-0', turn: '' }])
    expect(again).toEqual({ status: 'replying' })
  })

  test('is told to nobody by one who has lost the task', async () => {
    await journals.open(opening)
    const child = { sessionId: 's', messageId: 'child' }
    for (const worker of ['w-1', 'w-2']) await records.begin(worker, [{ ...child, entryId: '5-0', turn: '' }])
    const end = { fence: endedFence('R:1:5-0:w-1', 'COMPLETED'), fields: { result: '7' } }
    const late = { ...child, fence: 'R:1:5-0:w-1', first: 1, events: ['{}'], end }
    expect(await writer.commit(() => late)).toEqual({ ok: false, holder: 'R:2:5-0:w-2' })
    expect([[...(await journals.results(ref, [op]))], await inbox()]).toEqual([[], []])
  })

  test('that is larger than a wake-up should be is read by who waits', async () => {
    await journals.open(opening)
    await endChild('COMPLETED', { result: JSON.stringify('x'.repeat(40_000)) })
    expect(await inbox()).toEqual([['wake', `reply s parent ${op}`, 'result', '']])
  })

  test('brings a suspended task back, once and under its turn', async () => {
    await journals.open(opening)
    expect(await journals.park(parking)).toEqual({ status: 'parked' })
    expect(await fence('parent')).toBe('W:1:1-0:')
    expect(await bare.ttl(keys.session('s'))).toBe(-1)
    await endChild('CANCELLED', { error: '{"code":"GW_CANCELLED"}' })
    expect(await fence('parent')).toBe('Q:1::')
    await journals.replyAgain({ sessionId: 's', messageId: 'child' })
    const entry = ['data', 'envelope of the parent', 'turn', '1']
    expect(await waiting('parent', 'high')).toEqual([entry, entry])
    const answers = await records.begin('w-2', [
      { ...ref, entryId: '1-0', turn: '' },
      { ...ref, entryId: '8-0', turn: '1' },
      { ...ref, entryId: '9-0', turn: '1' },
    ])
    expect(answers.map(({ status }) => status)).toEqual(['stale', 'begun', 'stale'])
    expect(answers[1]).toMatchObject({ epoch: 2, attempt: 1, replay: { sum: '', restarts: 0 } })
    expect(await bare.hexists(keys.task('s', 'parent'), 'envelope')).toBe(0)
  })

  test('brings one of a worker’s own back to its lane, and wakes that worker', async () => {
    await journals.open(opening)
    expect(await journals.park({ ...parking, priority: '@w-9' })).toEqual({ status: 'parked' })
    await endChild()
    const lane = await bare.xrange(keys.control('parent', '@w-9'), '-', '+')
    expect(lane.map(([, fields]) => fields)).toEqual([['data', 'envelope of the parent', 'turn', '1']])
    expect(await inbox('w-9')).toHaveLength(1)
  })
})

describe('several answers', () => {
  test('put the suspended task that waits for them on its stream once', async () => {
    const messageIds = ['child', 'child-2', 'child-3']
    const ops = messageIds.map((_, index) => `/call:child#${index}`)
    for (const [index, messageId] of messageIds.entries()) {
      await journals.open({ ...opening, op: ops[index] as string, called: { ...called, messageId } })
    }
    expect(await journals.park({ ...parking, ops })).toEqual({ status: 'parked' })
    for (const messageId of messageIds) {
      const held = (await fence(messageId)) as string
      const end = { fence: endedFence(held, 'CANCELLED'), fields: {} }
      await writer.commit(() => ({ sessionId: 's', messageId, fence: held, first: 1, events: ['{}'], end }))
    }
    expect(await fence('parent')).toBe('Q:1::')
    expect(await waiting('parent', 'high')).toHaveLength(1)
    const { fields } = await journals.load(ref)
    for (const one of ops) expect(fields.has(`=${one}`)).toBe(true)
  })
})

describe('a question', () => {
  test('that was taken back is put again once, however many are, and however often each call is repeated', async () => {
    const bounds = { streamTtlMs: 1_000, streamMaxLength: 100 }
    const put = async (isAgain: boolean, fence = FENCE) => {
      for (const name of ['a', 'b']) {
        const question = { ...ref, op: `/ask:${name}#0`, fence, entry: `{"k":"ask","i":"${name}","p":"?"}`, sum: '' }
        await journals.ask({ ...question, event: `"${name}"`, isAgain, ...bounds })
      }
    }
    const said = async () => (await bare.xrange(keys.data('s'), '-', '+')).map(([, [, event]]) => event)
    await put(false)
    await put(false)
    expect(await said()).toEqual(['"a"', '"b"'])
    await put(true)
    await put(true)
    expect(await said()).toEqual(['"a"', '"b"', '"a"', '"b"'])
    const next = 'R:2:2-0:w'
    await bare.hset(keys.task('s', 'parent'), 'fence', next)
    await put(true, next)
    await put(true, next)
    expect(await said()).toEqual(['"a"', '"b"', '"a"', '"b"', '"a"', '"b"'])
  })
})

describe('an answer', () => {
  test('to a question whose task ends while it is given finds it closed', async () => {
    const asked = { ...ref, op: '/ask:#0', fence: FENCE, entry: '{"k":"ask","i":"a-1","p":"?"}', sum: '', event: '{}' }
    await journals.ask({ ...asked, streamTtlMs: 1_000, streamMaxLength: 10 })
    const redis = connect().client('patient')
    /** Ends the task right after it was looked at. */
    class Ending extends TaskRecords {
      override async peek(task: typeof ref) {
        const found = await super.peek(task)
        const end = { fence: endedFence(FENCE, 'CANCELLED'), fields: {} }
        await writer.commit(() => ({ ...ref, fence: FENCE, first: 1, events: ['{}'], end }))
        return found
      }
    }
    const asks = new Asks({
      journals,
      records: new Ending(redis, keys),
      kin: new KinReader(redis, keys),
      maxBytes: 1_000,
    })
    expect(await asks.reply(ref, 'a-1', 'yes')).toEqual({ status: 'CLOSED' })
  })
})

describe('park', () => {
  test('keeps the session’s index for as long as the task waits, whatever else ends in it, and no longer', async () => {
    const session = keys.session('s')
    await journals.open(opening)
    expect(await journals.park(parking)).toEqual({ status: 'parked' })
    const other = { sessionId: 's', messageId: 'other' }
    await records.admit([{ ...other, agentType: 'other', traceId: 't', parentMessageId: '', userCode: '' }])
    await records.begin('w', [{ ...other, entryId: '2-0', turn: '' }])
    const held = (await fence('other')) as string
    const end = { fence: endedFence(held, 'COMPLETED'), fields: {} }
    await writer.commit(() => ({ ...other, fence: held, first: 1, events: ['{}'], end }))
    expect(await bare.pttl(session)).toBe(-1)
    await records.begin('w-2', [{ sessionId: 's', messageId: 'child', entryId: '5-0', turn: '' }])
    await endChild()
    const [begun] = await records.begin('w', [{ ...ref, entryId: '7-0', turn: '1' }])
    // A short journal comes with it.
    expect(begun?.status === 'begun' && [...(begun.replay?.journal?.fields.keys() ?? [])]).toEqual([op, 'n', `=${op}`])
    const mine = (await fence('parent')) as string
    const last = { fence: endedFence(mine, 'COMPLETED'), fields: {} }
    expect(await bare.pttl(session)).toBe(-1)
    await writer.commit(() => ({ ...ref, fence: mine, first: 1, events: ['{}'], end: last }))
    expect(await bare.pttl(session)).toBeGreaterThan(0)
    expect((await records.listSession('s')).map(({ messageId }) => messageId)).toHaveLength(3)
  })

  test.each([
    ['the last of its session to end', undefined],
    ['not the last', called],
  ])('keeps what was said for as long as the task waits, and gives it its time when it ends, %s', async (_, other) => {
    const data = keys.data('s')
    await journals.open({ ...opening, called: other })
    const said = { ...ref, fence: FENCE, first: 1, events: ['{}'] }
    // The first word of a process gives the stream its time, and no other does so soon.
    await writer.commit(() => said)
    expect(await bare.pttl(data)).toBeGreaterThan(0)
    expect(await journals.park({ ...parking, waitsFor: 'timer' })).toEqual({ status: 'parked' })
    expect(await bare.pttl(data)).toBe(-1)
    expect(await journals.answer(ref, op, '1')).toBe('accepted')
    await records.begin('w', [{ ...ref, entryId: '7-0', turn: '1' }])
    const held = (await fence('parent')) as string
    const end = { fence: endedFence(held, 'COMPLETED'), fields: {} }
    await writer.commit(() => ({ ...said, fence: held, first: 2, end }))
    expect(await bare.pttl(data)).toBeGreaterThan(0)
  })

  test('lists the task again where the session’s index was lost', async () => {
    await journals.open({ ...opening, called: undefined })
    await bare.del(keys.session('s'))
    expect(await journals.park(parking)).toEqual({ status: 'parked' })
    expect(await bare.zrange(keys.session('s'), '0', '-1', 'WITHSCORES')).toEqual([
      '',
      '-1',
      'parent',
      expect.any(String),
    ])
  })

  test('keeps nothing of what the task would have needed when it has ended meanwhile', async () => {
    await journals.open(opening)
    expect(await journals.park(parking)).toEqual({ status: 'parked' })
    const end = { fence: endedFence('W:1:1-0:', 'CANCELLED'), fields: {} }
    await writer.commit(() => ({ ...ref, fence: 'W:1:1-0:', first: 0, events: ['{}'], end }))
    const needed = ['journal', 'blobs', 'inbox', 'envelope', 'home', 'waits_for']
    expect(await bare.hmget(keys.task('s', 'parent'), ...needed)).toEqual(needed.map(() => null))
  })

  test('is refused when a result has come, when the task is not the caller’s, and when it is cancelled', async () => {
    await journals.open(opening)
    expect(await journals.park({ ...parking, fence: 'R:0:1-0:w' })).toEqual({ status: 'lost', holder: FENCE })
    await journals.answer(ref, op, '1')
    expect(await journals.park(parking)).toEqual({ status: 'ready' })
    await records.requestCancel(ref, { reason: '', requestedBy: '' })
    expect(await journals.park(parking)).toMatchObject({ status: 'cancelled' })
    expect(await fence('parent')).toBe(FENCE)
  })
})

describe('answer', () => {
  test('is accepted once, refused for what is not known, and for a task that has its end', async () => {
    await journals.open({ ...opening, called: undefined })
    expect(await journals.answer(ref, '/other:#0', '1')).toBe('refused')
    expect(await journals.answer(ref, op, '1')).toBe('accepted')
    expect(await journals.answer(ref, op, '2')).toBe('known')
    expect(parseResult((await journals.results(ref, [op])).get(op) as string).value).toBe(1)
    const end = { fence: endedFence(FENCE, 'COMPLETED'), fields: {} }
    await writer.commit(() => ({ ...ref, fence: FENCE, first: 1, events: ['{}'], end }))
    expect(await journals.answer(ref, op, '2')).toBe('refused')
    expect(await bare.exists(keys.journal('s', 'parent'))).toBe(0)
  })
})

describe('close and drop', () => {
  test('record a result of the owner’s once, and forget all', async () => {
    const note = { ...ref, fence: FENCE, op: '/now:#0', entry: '{}', result: '5', sum: 'said before' }
    expect(await journals.close(note)).toEqual({ status: 'noted', text: '1 1 5' })
    expect(await journals.close({ ...note, result: '6' })).toEqual({ status: 'noted', text: '1 1 5' })
    expect(await journals.close({ ...note, fence: 'R:0:1-0:w' })).toEqual({ status: 'lost', holder: FENCE })
    expect(await journals.drop({ ...ref, fence: 'R:0:1-0:w' })).toBeNull()
    expect(await journals.drop({ ...ref, fence: FENCE })).toBe(1)
    expect((await journals.load(ref)).fields.size).toBe(0)
    const [begun] = await records.begin('w', [{ ...ref, entryId: '1-0', turn: '' }])
    expect(begun).toMatchObject({ status: 'begun', replay: { sum: '', restarts: 1 } })
  })
})
