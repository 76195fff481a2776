import type { Redis } from 'ioredis'
import { beforeEach, expect, test } from 'vitest'
import type { Keys } from '../../src/redis/keys.ts'
import { ControlReader } from '../../src/store/control-reader.ts'
import { lanesOf } from '../../src/store/control-streams.ts'
import { ControlWriter } from '../../src/store/control-writer.ts'
import { Journals } from '../../src/store/journals.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { openStore } from '../redis/harness.ts'

let keys: Keys
let bare: Redis
let journals: Journals
let writer: ControlWriter
let records: TaskRecords
let reader: (consumer?: string) => ControlReader
const ref = { sessionId: 's', messageId: 'parent' }

beforeEach(async () => {
  const store = openStore()
  ;({ keys, bare } = store)
  journals = new Journals(store.redis, keys)
  writer = new ControlWriter(store.redis, keys)
  records = new TaskRecords(store.redis, keys)
  reader = (consumer = 'w') =>
    new ControlReader({
      ...{ redis: store.redis, blocking: store.connections.client('blocking'), streams: lanesOf(['child'], keys) },
      ...{ group: 'g', consumer, begins: { newest: keys.newest(), taskHead: keys.taskHead(), version: '' } },
    })
  await records.admit([{ ...ref, agentType: 'parent', traceId: 't', parentMessageId: '', userCode: '' }])
  await records.begin('caller', [{ ...ref, entryId: '1-0', turn: '' }])
})

const called = { agentType: 'child', traceId: 't', userCode: '', parentMessageId: 'parent', replies: true } as const

function call(messageId: string) {
  const child = { ...called, messageId, priority: 'normal', data: messageId } as const
  return journals.open({ ...ref, fence: 'R:1:1-0:caller', op: messageId, entry: '{}', sum: '', called: child })
}

const fence = (messageId: string) => bare.hget(keys.task('s', messageId), 'fence')

test('who waits gets a called task begun; a second begin by its entry bears that', async () => {
  const own = reader()
  await own.ensureGroups()
  const waiting = own.block(5)
  await call('child')
  const [entry] = await waiting
  expect(entry).toMatchObject({ maybeBegun: true, deliveries: 1, begun: ['1', '0', expect.any(String), '1', '', ''] })
  expect(await fence('child')).toBe(`R:1:${entry?.id}:w`)
  expect(await bare.exists(keys.newest())).toBe(0)
  const request = { sessionId: 's', messageId: 'child', entryId: entry?.id ?? '', turn: '' }
  expect((await records.begin('other', [request]))[0]).toMatchObject({ status: 'begun', epoch: 2, attempt: 1 })
})

test('one that was cancelled meanwhile, or that others have, is left to begin', async () => {
  const [own, other] = [reader(), reader('other')]
  await own.ensureGroups()
  await call('first')
  await call('second')
  await bare.hset(keys.task('s', 'first'), 'cancel', '{}')
  const takeOne = async () =>
    (await other.take({ budget: 1, streams: own.streams, steps: [{ first: 0, count: 3, most: 1 }] })).entries
  const [taken] = await takeOne()
  expect(taken?.raw[1]).toContain('first')
  const [entry] = await own.block(5)
  expect(entry?.raw[1]).toContain('second')
  expect(entry?.begun).toBeDefined()
  expect(await fence('first')).toBe('Q:0::')
  await call('third')
  await takeOne()
  await bare.xadd(keys.control('child'), '*', 'data', 'another')
  expect(await own.block(5)).toHaveLength(1)
  expect(await fence('third')).toBe('Q:0::')
})

test('of the newest calls not many are noted, and not for long', async () => {
  await Promise.all(Array.from({ length: 20 }, (_, index) => call(`child-${index}`)))
  expect((await bare.get(keys.newest()))?.split('\n')).toHaveLength(8)
  expect(await bare.pttl(keys.newest())).toBeGreaterThan(0)
})

test('an entry of another lane that has the same id is not taken for it', async () => {
  const own = reader()
  await own.ensureGroups()
  await call('child')
  const [[id] = ['']] = await bare.xrange(keys.control('child'), '-', '+')
  await bare.xadd(keys.control('child', 'high'), id, 'data', 'another')
  const entries = await own.block(5)
  expect(
    entries.map(({ id: of, stream, begun }) => [of, stream.priority, typeof begun === 'object' ? begun[0] : begun]),
  ).toEqual([
    [id, 'high', undefined],
    [id, 'normal', '1'],
  ])
})

test('a send that leaves alone is begun so, too; of several nothing is noted, nor of one that was sent before', async () => {
  const own = reader()
  await own.ensureGroups()
  const departure = (messageId: string) => ({
    task: { sessionId: 's', messageId, agentType: 'child', traceId: 't', parentMessageId: '', userCode: '' },
    ...{ data: messageId, priority: 'normal' as const },
  })
  const waiting = own.block(5)
  expect(await writer.send([departure('one')])).toEqual([true])
  const [entry] = await waiting
  expect(entry?.begun).toEqual(['1', '0', await bare.hget(keys.task('s', 'one'), 'created_at'), '1', '', ''])
  expect(await writer.send([departure('one')])).toEqual([false])
  expect(await writer.send([departure('two'), { ...departure('three'), limit: 2 }])).toEqual([true, null])
  expect(await bare.exists(keys.newest())).toBe(0)
  expect(await fence('three')).toBeNull()
  const [again, two] = await own.block(5)
  expect([again?.begun, two?.begun]).toEqual([undefined, undefined])
})
