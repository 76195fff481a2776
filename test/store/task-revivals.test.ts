import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Keys } from '../../src/redis/keys.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { type RevivalAnswer, type RevivalRequest, TaskRevivals } from '../../src/store/task-revivals.ts'
import { openStore } from '../redis/harness.ts'

let keys: Keys
let bare: Redis
let revivals: TaskRevivals
let records: TaskRecords

beforeEach(() => {
  const store = openStore()
  keys = store.keys
  bare = store.bare
  revivals = new TaskRevivals(store.redis, keys)
  records = new TaskRecords(store.redis, keys)
})

const record = (messageId = 'm') => keys.task('s', messageId)
const put = (fence: string, fields: Record<string, string> = {}, messageId = 'm') =>
  bare.hset(record(messageId), { fence, created_at: '77', ...fields })
const request = (more: Partial<RevivalRequest> = {}): RevivalRequest => ({
  ...{ sessionId: 's', messageId: 'm', turn: 0, entryId: '1-0', birth: () => birth },
  ...more,
})
const revive = async (more: Partial<RevivalRequest> = {}, looksOnly = false) =>
  (await revivals.revive([request(more)], looksOnly))[0] as RevivalAnswer
const birth = {
  ...{ sessionId: 's', messageId: 'm', agentType: 'agent', traceId: 't', parentMessageId: 'p', userCode: 'u' },
  epoch: 4,
}

describe('a task that failed', () => {
  test('waits again: same history, a fresh budget, no end', async () => {
    await put('F:3:1-0:w:1', {
      ...{ finished_at: '9', end_id: '5-0', result: '1', error: '{}', content: 'c', cancel: '{}', expires_at: '8' },
      ...{ due_at: '7', failures: '3', failure_log: '[1]', written: '12', agent_type: 'agent', started_at: '78' },
      ...{ attempt: '3', restarts: '2' },
    })
    await bare.pexpire(record(), 60_000)
    expect(await revive()).toEqual({ status: 'revived', turn: '3' })
    expect(await bare.hgetall(record())).toEqual({
      ...{ fence: 'Q:3::', created_at: '77', failures: '0', failure_log: '[1]', written: '12', agent_type: 'agent' },
      life: '3',
    })
    expect(await bare.pttl(record())).toBe(-1)
    expect(await bare.zrange(keys.session('s'), '0', '-1', 'WITHSCORES')).toEqual(['', '-1', 'm', expect.any(String)])
    expect(await records.get({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'QUEUED', finishedAt: null })
  })

  test('is revived once, and the second who asks is told the same turn', async () => {
    await put('F:3:1-0:w')
    const answers = await Promise.all(Array.from({ length: 10 }, () => revive()))
    expect(new Set(answers.map((answer) => JSON.stringify(answer)))).toEqual(
      new Set(['{"status":"revived","turn":"3"}']),
    )
    expect(await bare.hget(record(), 'fence')).toBe('Q:3::')
  })

  test('stays as it is for one who only looks', async () => {
    await put('F:3:1-0:w', { failures: '3' })
    await bare.pexpire(record(), 60_000)
    const before = await bare.hgetall(record())
    expect(await revive({}, true)).toEqual({ status: 'revived', turn: '3' })
    expect(await revive({ messageId: 'gone' }, true)).toEqual({ status: 'revived', turn: '4' })
    expect(await bare.hgetall(record())).toEqual(before)
    expect(await bare.pttl(record())).toBeGreaterThan(0)
    expect(await bare.exists(record('gone'), keys.session('s'))).toBe(0)
  })
})

describe('a record that is gone', () => {
  test('is made afresh', async () => {
    expect(await revive()).toEqual({ status: 'revived', turn: '4' })
    expect(await bare.hgetall(record())).toEqual({
      written: '1',
      ...{ fence: 'Q:4::', failures: '0', agent_type: 'agent', trace_id: 't', parent_message_id: 'p', user_code: 'u' },
      ...{ created_at: expect.stringMatching(/^\d{13}$/), life: '4' },
    })
    expect(await bare.zrange(keys.session('s'), '0', '-1')).toEqual(['', 'm'])
  })
})

describe('a task that did not fail, or not any more', () => {
  test.each([
    // Its own entry is still on its way: the letter must stay, for this entry may not bring another one.
    ['Q:0::', 0, 'waiting', false],
    ['Q:5::', 5, 'waiting', false],
    ['T:5:1-0:', 5, 'waiting', false],
    ['D:0::', 0, 'waiting', false],
    ['R:1:1-0:w', 0, 'running', false],
    // A later life.
    ['T:6:9-0:', 5, 'waiting', true],
    ['R:2:9-0:w', 0, 'running', true],
    ['C:2:9-0:w', 0, 'ended', true],
    ['X:2:9-0:w', 0, 'ended', true],
    ['E:2::', 0, 'ended', true],
  ] as const)('%s, a failure of turn %d: %s', async (fence, turn, status, isPast) => {
    await put(fence, { finished_at: '9' })
    const before = await bare.hgetall(record())
    expect(await revive({ turn })).toEqual({ status, isPast })
    expect(await bare.hgetall(record())).toEqual(before)
    expect(await bare.exists(keys.session('s'))).toBe(0)
  })

  test('revived by one who died before he put the entry on its stream', async () => {
    await put('Q:5::')
    expect(await revive({ turn: 4 })).toEqual({ status: 'revived', turn: '5' })
  })
})

test('many at once, each with its own answer', async () => {
  await put('F:1:1-0:w', {}, 'm-1')
  await put('C:1:1-0:w', {}, 'm-3')
  const answers = await revivals.revive(
    ['m-1', 'm-2', 'm-3', 'm-1'].map((messageId) => request({ messageId })),
    false,
  )
  expect(answers).toEqual([
    { status: 'revived', turn: '1' },
    { status: 'revived', turn: '4' },
    { status: 'ended', isPast: true },
    { status: 'revived', turn: '1' },
  ])
  expect(await revivals.revive([], false)).toEqual([])
})
