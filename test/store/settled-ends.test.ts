import type { Redis } from 'ioredis'
import { beforeEach, expect, test } from 'vitest'
import type { Keys } from '../../src/redis/keys.ts'
import { DEFAULT_GROUP } from '../../src/store/control-streams.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { endedFence } from '../../src/store/fence.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { openStore } from '../redis/harness.ts'

let records: TaskRecords
let writer: DataWriter
let keys: Keys
let bare: Redis

beforeEach(() => {
  const store = openStore()
  keys = store.keys
  bare = store.bare
  records = new TaskRecords(store.redis, keys)
  writer = new DataWriter(store.redis, keys, DEFAULT_RETENTION, { group: DEFAULT_GROUP })
})

/** A task that a worker has taken from its control stream and begun. */
async function running(messageId: string, control = keys.control('agent', 'normal')) {
  const ref = { sessionId: 's', messageId }
  await records.admit([{ ...ref, agentType: 'agent', traceId: 't', parentMessageId: '', userCode: '' }])
  await bare.xgroup('CREATE', control, DEFAULT_GROUP, '0', 'MKSTREAM').catch(() => undefined)
  await bare.xadd(control, '*', 'data', '{}')
  const reply = await bare.xreadgroup('GROUP', DEFAULT_GROUP, 'w', 'COUNT', 1, 'STREAMS', control, '>')
  const entryId = reply?.[0]?.[1][0]?.[0] ?? ''
  await records.begin('w', [{ ...ref, entryId, turn: '' }])
  return { ...ref, control, fence: `R:1:${entryId}:w` }
}

const end = ({ control, fence, ...ref }: Awaited<ReturnType<typeof running>>) =>
  writer.commit(() => ({
    ...{ ...ref, fence, first: 1, events: ['{}'] },
    end: { fence: endedFence(fence, 'COMPLETED'), fields: { result: '1' }, control },
  }))

/** Entries on a stream, and how many of them are pending. */
async function left(control: string): Promise<[number, number]> {
  const pending = (await bare.xpending(control, DEFAULT_GROUP)) as [number]
  return [await bare.xlen(control), pending[0]]
}

test('an entry is acked and deleted with the end of its task, and no other is', async () => {
  const other = keys.control('other', 'high')
  const tasks = [await running('m-1'), await running('m-2', other), await running('m-3'), await running('m-4', other)]
  const [first, second, third, fourth] = tasks
  expect(await Promise.all([first, second, third].map((task) => end(task as (typeof tasks)[0])))).toEqual([
    { ok: true, lastId: '', isSettled: true },
    { ok: true, lastId: '', isSettled: true },
    { ok: true, lastId: '', isSettled: true },
  ])
  expect(await left(keys.control('agent', 'normal'))).toEqual([0, 0])
  expect(await left(other)).toEqual([1, 1])
  expect(await end(fourth as (typeof tasks)[0])).toMatchObject({ isSettled: true })
  expect(await left(other)).toEqual([0, 0])
})

test('an entry that cannot be acked with its end is told from one that was, and the end stands', async () => {
  const task = await running('m')
  const control = keys.control('other', 'normal')
  await bare.set(control, 'no stream')
  expect(await end({ ...task, control })).toEqual({ ok: true, lastId: '' })
  expect(await bare.hget(keys.task('s', 'm'), 'fence')).toMatch(/^C:/)
  expect(await left(task.control)).toEqual([1, 1])
})

test('an end that is refused leaves the entry to whoever owns the task', async () => {
  const task = await running('m')
  await bare.hset(keys.task('s', 'm'), 'fence', task.fence.replace(/w$/, 'next'))
  expect(await end(task)).toMatchObject({ ok: false })
  expect(await left(task.control)).toEqual([1, 1])
})

test('an end that somebody must be told of leaves the entry, so that it is told again if its worker dies', async () => {
  const parent = keys.task('s', 'parent')
  const journal = keys.journal('s', 'parent')
  await bare.hset(parent, 'fence', 'R:1:1-0:caller', 'attempt', '1')
  await bare.hset(journal, 'one', '{}', 'two', '{}')
  const untold = await running('untold')
  await bare.hset(keys.task('s', 'untold'), 'reply_to', `${parent} ${journal} one`)
  expect(await end(untold)).toMatchObject({ ok: true, tells: [{ kind: 'wake', owner: 'caller', op: 'one' }] })
  expect(await left(untold.control)).toEqual([1, 1])

  // A caller that can be woken by the script itself.
  const inboxes = `${parent}:inbox:`
  await bare.hset(parent, 'inbox', `${inboxes} 100 60000`)
  const told = await running('told')
  await bare.hset(keys.task('s', 'told'), 'reply_to', `${parent} ${journal} two`)
  expect(await end(told)).toEqual({ ok: true, lastId: '', isSettled: true })
  expect(await left(told.control)).toEqual([1, 1])
  expect(await bare.xlen(`${inboxes}caller`)).toBe(1)
})

test('ends beside one that cannot be written stand, before it and behind it, and are acked', async () => {
  const [before, broken, behind] = [
    await running('m-1'),
    { ...(await running('m-2')), sessionId: 'broken' },
    await running('m-3'),
  ]
  await bare.copy(keys.task('s', 'm-2'), keys.task('broken', 'm-2'))
  await bare.set(keys.data('broken'), 'no stream')
  const ends = await Promise.allSettled([before, broken, behind].map(end))
  expect(ends).toMatchObject([
    { status: 'fulfilled', value: { ok: true } },
    { status: 'rejected', reason: { message: expect.stringContaining('WRONGTYPE') } },
    { status: 'fulfilled', value: { ok: true, isSettled: true } },
  ])
  for (const messageId of ['m-1', 'm-3']) expect(await bare.hget(keys.task('s', messageId), 'fence')).toMatch(/^C:/)
  expect(await bare.hget(keys.task('broken', 'm-2'), 'fence')).toBe(broken.fence)
  expect(await bare.xlen(keys.data('s'))).toBe(2)
})
