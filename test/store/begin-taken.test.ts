import type { Redis } from 'ioredis'
import { beforeEach, expect, test } from 'vitest'
import type { Keys } from '../../src/redis/keys.ts'
import { ControlReader } from '../../src/store/control-reader.ts'
import { lanesOf, type TakenEntry } from '../../src/store/control-streams.ts'
import { ControlWriter } from '../../src/store/control-writer.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { openStore } from '../redis/harness.ts'
import { atMost } from './read-plan.ts'

let keys: Keys
let bare: Redis
let writer: ControlWriter
let records: TaskRecords
let reader: ControlReader

const ref = (messageId: string) => ({ sessionId: 's', messageId })
const task = (messageId: string) => ({
  ...{ ...ref(messageId), agentType: 'a', traceId: 't', parentMessageId: '', userCode: '' },
})

beforeEach(async () => {
  const store = openStore()
  ;({ keys, bare } = store)
  writer = new ControlWriter(store.redis, keys)
  records = new TaskRecords(store.redis, keys)
  reader = new ControlReader({
    ...{ redis: store.redis, blocking: store.connections.client('blocking'), streams: lanesOf(['a'], keys) },
    ...{ group: 'g', consumer: 'w', begins: { newest: keys.newest(), taskHead: keys.taskHead(), version: '2' } },
  })
  await reader.ensureGroups()
})

const put = async (...messageIds: string[]) => {
  for (const id of messageIds) await bare.xadd(keys.control('a'), '*', 'data', id, 'task', `{s}:${id}`)
}
const take = async (): Promise<TakenEntry[]> => (await reader.take(atMost(10, reader.streams))).entries
const held = (messageId: string, ...names: string[]) => bare.hmget(keys.task('s', messageId), ...names)

test('a first start needs no further call; a second begin by its entry bears that', async () => {
  await records.admit([task('m')])
  await put('m')
  const [entry] = await take()
  const [fence, attempt, version, createdAt] = await held('m', 'fence', 'attempt', 'version', 'created_at')
  expect([fence, attempt, version]).toEqual([`R:1:${entry?.id}:w`, '1', '1 2'])
  expect(entry).toMatchObject({ deliveries: 1, maybeBegun: true, begun: Number(createdAt) })
  const request = { ...ref('m'), entryId: entry?.id ?? '', turn: '' }
  expect((await records.begin('other', [request]))[0]).toMatchObject({ status: 'begun', epoch: 2, attempt: 1 })
})

test('all that is not plain is left to begin, each in its place', async () => {
  await records.admit([task('cancelled'), { ...task('expiring'), expiresInMs: 60_000 }, task('running'), task('m')])
  await bare.hset(keys.task('s', 'cancelled'), 'cancel', '{}')
  await records.begin('other', [{ ...ref('running'), entryId: '1-0', turn: '' }])
  await bare.set(keys.task('s', 'no-hash'), 'text')
  const before = await held('running', 'fence')
  await put('cancelled', 'expiring', 'running', 'no-record', 'no-hash', 'm')
  await writer.enqueue([{ capability: 'a', data: 'a later one', turn: '0' }])
  await bare.xadd(keys.control('a'), '*', 'data', 'of another program')
  const entries = await take()
  expect(entries).toHaveLength(8)
  expect(entries.map(({ begun, maybeBegun }) => [typeof begun, maybeBegun])).toEqual(
    entries.map(({ raw }) => (raw[1]?.[1] === 'm' ? ['number', true] : ['undefined', false])),
  )
  expect(await held('running', 'fence')).toEqual(before)
  expect(await held('cancelled', 'fence')).toEqual(['Q:0::'])
})

test('what is given back unrun is as if it was never begun; what somebody else has begun or ended stays so', async () => {
  await records.admit([task('m'), task('cancelled'), task('forced')])
  await put('m', 'cancelled', 'forced')
  const entries = await take()
  await records.requestCancel(ref('cancelled'), { reason: '', requestedBy: '' })
  await bare.hset(keys.task('s', 'forced'), 'fence', `X:1:${entries[2]?.id}:w`)
  await reader.release(entries)
  await reader.release(entries) // its reply was lost
  expect(await held('m', 'fence', 'started_at', 'attempt', 'version')).toEqual(['Q:0::', null, null, null])
  expect(await held('forced', 'fence')).toEqual([`X:1:${entries[2]?.id}:w`])
  const again = await take()
  expect(again.map(({ raw, begun }) => [raw[1]?.[1], typeof begun])).toEqual([
    ['m', 'number'],
    ['cancelled', 'undefined'],
    ['forced', 'undefined'],
  ])
  const requests = again.map(({ id, raw }) => ({ ...ref(raw[1]?.[1] ?? ''), entryId: id, turn: '' }))
  const answers = await records.begin('other', requests.slice(1))
  expect(answers).toMatchObject([{ status: 'begun', cancel: { reason: '' } }, { status: 'ended' }])
})

test('what somebody has taken over meanwhile is not given back', async () => {
  await records.admit([task('m')])
  await put('m')
  const [entry] = await take()
  const id = entry?.id ?? ''
  await bare.xclaim(keys.control('a'), 'g', 'other', 0, id)
  await records.begin('other', [{ ...ref('m'), entryId: id, turn: '' }])
  await reader.release(entry === undefined ? [] : [entry])
  expect(await held('m', 'fence')).toEqual([`R:2:${id}:other`])
  expect(await bare.xpending(keys.control('a'), 'g')).toMatchObject([1, id, id, [['other', '1']]])
})
