import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, test } from 'vitest'
import { Aftercare } from '../../src/execution/aftercare.ts'
import { Reception } from '../../src/execution/reception.ts'
import { TASK_FIELD } from '../../src/protocol/codec.ts'
import { TASK_OPTIONS_KEY } from '../../src/protocol/task-options.ts'
import { type Keys, taskTail } from '../../src/redis/keys.ts'
import { Agenda } from '../../src/store/agenda.ts'
import { ControlReader } from '../../src/store/control-reader.ts'
import { lanesOf, type TakenEntry } from '../../src/store/control-streams.ts'
import { ControlWriter } from '../../src/store/control-writer.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { DeadLetters } from '../../src/store/dead-letters.ts'
import { InboxWriter } from '../../src/store/inbox.ts'
import { Journals } from '../../src/store/journals.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { openStore } from '../redis/harness.ts'
import { atMost } from '../store/read-plan.ts'
import { envelope, memoryLogger } from '../worker/harness.ts'

let keys: Keys
let bare: Redis
let records: TaskRecords
let reader: ControlReader
let reception: Reception
let logger: ReturnType<typeof memoryLogger>
let writer: DataWriter
let agenda: Agenda

beforeEach(async () => {
  const store = openStore()
  keys = store.keys
  bare = store.bare
  logger = memoryLogger()
  records = new TaskRecords(store.redis, keys)
  writer = new DataWriter(store.redis, keys, { resultTtlMs: 60_000, streamTtlMs: 60_000, streamMaxLength: 1_000 })
  const streams = lanesOf(['agent'], keys)
  reader = new ControlReader({
    ...{ redis: store.redis, blocking: store.connections.client('blocking'), streams, group: 'g', consumer: 'w' },
  })
  await reader.ensureGroups()
  const deadLetters = new DeadLetters(store.redis, keys)
  agenda = new Agenda(store.redis, keys)
  const inboxes = new InboxWriter(store.redis, keys)
  reception = new Reception({
    ...{ records, deadLetters, logger, workerId: 'w', maxPayloadBytes: 10_000, maxDeliveries: 3 },
    aftercare: new Aftercare({ agenda, inboxes, deadLetters, workerId: 'w' }),
    journals: new Journals(store.redis, keys),
    control: new ControlWriter(store.redis, keys),
  })
})

/** Puts documents on the stream as other programs do, and takes them. */
async function taken(...documents: string[]): Promise<TakenEntry[]> {
  for (const data of documents) await bare.xadd(keys.control('agent'), '*', 'data', data)
  return (await reader.take(atMost(100, reader.streams))).entries
}
const admit = (messageId: string) =>
  records.admit([{ sessionId: 's', messageId, agentType: 'agent', traceId: 't', parentMessageId: '', userCode: '' }])
/** What became of each entry, in the order of the entries. */
async function receive(entries: TakenEntry[]): Promise<(string | null)[]> {
  const received = await reception.receive(entries)
  expect(received).toHaveLength(entries.length)
  return entries.map((entry) => {
    const { assignment } = received.find((one) => one.entry === entry) ?? { assignment: undefined }
    if (!assignment) return assignment === null ? null : 'lost'
    const { header, ownership, command } = assignment
    return `${header.messageId} ${ownership.epoch} ${command instanceof Error ? command.message : command.actionType}`
  })
}
const deaths = () => bare.xlen(keys.dead('agent'))

test('tasks with a record and tasks without are begun, in one batch', async () => {
  await admit('known')
  expect(await receive(await taken(envelope('known', 's'), envelope('foreign', 's')))).toEqual([
    ...['known 1 ASK_AGENT', 'foreign 1 ASK_AGENT'],
  ])
  expect(await records.get({ sessionId: 's', messageId: 'foreign' })).toMatchObject({
    status: 'RUNNING',
    workerId: 'w',
    traceId: 'trace',
  })
})

test('of duplicates in one batch one is begun, whether there was a record or not', async () => {
  await admit('known')
  const entries = await taken(
    envelope('known', 's'),
    envelope('known', 's'),
    envelope('foreign', 's'),
    envelope('foreign', 's'),
  )
  expect(await receive(entries)).toEqual(['known 1 ASK_AGENT', null, 'foreign 1 ASK_AGENT', null])
})

test('an entry that names another task than its envelope begins that of its envelope', async () => {
  const data = envelope('m', 's')
  await bare.xadd(keys.control('agent'), '*', 'data', data, TASK_FIELD, taskTail('s', 'other'))
  const [entry] = (await reader.take(atMost(1, reader.streams))).entries
  expect(await receive([{ ...(entry as TakenEntry), maybeBegun: true, begun: 1 }])).toEqual(['m 1 ASK_AGENT'])
  expect(await records.get({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'RUNNING' })
})

test('a task of another program expires by the time of its entry, as far as clocks can tell', async () => {
  const [now] = (await bare.time()) as [number]
  const metadata = { [TASK_OPTIONS_KEY]: { expires_in_ms: 1_000 } }
  const header = { session_id: 's', trace_id: 't', metadata }
  for (const ageMs of [120_000, 30_000]) {
    const data = { action_type: 'ASK_AGENT', header: { ...header, message_id: `m-${ageMs}` }, body: { content: 'hi' } }
    await bare.xadd(keys.control('agent'), `${now * 1_000 - ageMs}-0`, 'data', JSON.stringify(data))
  }
  const received = await reception.receive((await reader.take(atMost(2, reader.streams))).entries)
  expect(received.map(({ assignment }) => assignment?.isExpired)).toEqual([true, false])
})

test('an entry that is handed out again is begun again; another entry of its task is not', async () => {
  const [first] = await taken(envelope('m', 's'))
  await receive([first as TakenEntry])
  expect(await receive([{ ...(first as TakenEntry), deliveries: 2 }])).toEqual(['m 2 ASK_AGENT'])
  expect(await receive(await taken(envelope('m', 's')))).toEqual([null])
})

test('a task that has its end has nothing to run', async () => {
  const [entry] = await taken(envelope('m', 's'))
  await receive([entry as TakenEntry])
  await writer.commit(() => ({
    ...{ sessionId: 's', messageId: 'm', fence: `R:1:${entry?.id}:w`, first: 1, events: ['{}'] },
    end: { fence: `C:1:${entry?.id}:w`, fields: {} },
  }))
  expect(await receive([entry as TakenEntry])).toEqual([null])
})

describe('what cannot be understood', () => {
  test('is buried, and becomes a task only where it says whose', async () => {
    const entries = await taken('no json', envelope('m', 's', {}, 'DANCE'), envelope('good', 's'), '{}')
    expect(await receive(entries)).toEqual([
      ...[null, expect.stringMatching(/^m 1 the message cannot be processed: .*DANCE/), 'good 1 ASK_AGENT', null],
    ])
    expect(await deaths()).toBe(3)
    expect(logger.lines.filter(({ level }) => level === 'error')).toHaveLength(3)
  })

  test('is buried and said once, also where it comes again when its task has failed', async () => {
    const [nameless, entry] = (await taken('x', envelope('m', 's', {}, 'DANCE'))) as [TakenEntry, TakenEntry]
    await receive([nameless, entry])
    const end = { fence: `F:1:${entry.id}:w`, fields: {} }
    const fence = `R:1:${entry.id}:w`
    await writer.commit(() => ({ sessionId: 's', messageId: 'm', fence, first: 1, events: ['{}'], end }))
    expect(await receive([nameless, entry])).toEqual([null, null])
    expect([await deaths(), logger.lines.filter(({ level }) => level === 'error').length]).toEqual([2, 2])
  })

  test('nor does a batch of nothing else fail', async () => {
    expect(await receive(await taken('x', 'y'))).toEqual([null, null])
    expect(await receive([])).toEqual([])
  })
})

test('a task whose workers died too often is buried and failed', async () => {
  const [entry] = (await taken(envelope('m', 's'))) as [TakenEntry]
  for (const deliveries of [1, 2, 3])
    expect(await receive([{ ...entry, deliveries }])).toEqual([`m ${deliveries} ASK_AGENT`])
  expect(await receive([{ ...entry, deliveries: 4 }])).toEqual([
    expect.stringMatching(/^m 4 the message cannot be processed: .*3 times/),
  ])
  const [letter] = await bare.xrange(keys.dead('agent'), '-', '+')
  expect(letter?.[1]).toEqual(expect.arrayContaining(['too-many-deliveries', envelope('m', 's')]))
})

test.each([
  ['is cancelled', () => records.requestCancel({ sessionId: 's', messageId: 'm' }, { reason: 'r', requestedBy: 'u' })],
  ['has expired', () => bare.hset(keys.task('s', 'm'), 'expires_at', '1')],
] as const)('a task that %s and whose workers died too often is no dead letter', async (what, happen) => {
  const [entry] = (await taken(envelope('m', 's'))) as [TakenEntry]
  await admit('m')
  if (what === 'is cancelled') await receive([entry])
  await happen()
  const [received] = await reception.receive([{ ...entry, deliveries: 9 }])
  expect(received?.assignment?.command).not.toBeInstanceOf(Error)
  expect(await deaths()).toBe(0)
})

test.each(['C', 'X'])(
  'a task that has its end (%s) and whose ack was lost too often is no dead letter',
  async (letter) => {
    const [entry] = (await taken(envelope('m', 's'))) as [TakenEntry]
    await receive([entry])
    const end = { fence: `${letter}:1:${entry.id}:w`, fields: {} }
    const fence = `R:1:${entry.id}:w`
    await writer.commit(() => ({ sessionId: 's', messageId: 'm', fence, first: 1, events: ['{}'], end }))
    expect(await receive([{ ...entry, deliveries: 9 }])).toEqual([null])
    expect([await deaths(), logger.lines.filter(({ level }) => level === 'error')]).toEqual([0, []])
  },
)

describe('what a worker left undone when it died', () => {
  /** Begins the task of an entry, and leaves it as one does who dies before he has put things in order. */
  async function left(letter: 'T' | 'F') {
    const [entry] = (await taken(envelope('m', 's'))) as [TakenEntry]
    await receive([entry])
    const failure = { attempt: 1, code: 'GW_TASK_FAILED', message: 'boom', at: 1, workerId: 'w', entryId: entry.id }
    const fields = { due_at: '0', failures: '1', failure_log: JSON.stringify([failure]) }
    const fence = letter === 'T' ? `T:1:${entry.id}:` : `F:1:${entry.id}:w`
    const end = { fence, fields }
    await writer.commit(() => ({
      ...{ sessionId: 's', messageId: 'm', fence: `R:1:${entry.id}:w`, first: 1, events: ['{}'], end },
    }))
    return { entry, failure }
  }
  const due = async () =>
    (await Promise.all(agenda.shards.map((shard) => agenda.take(shard, 'w', false)))).flatMap(({ items }) =>
      items.map(({ item }) => item),
    )

  test('is done: the next attempt is on the agenda, once', async () => {
    const { entry } = await left('T')
    expect(await receive([{ ...entry, deliveries: 2 }, entry])).toEqual([null, null])
    expect(await due()).toEqual([
      {
        ...{ kind: 'ready', turn: '1', sessionId: 's', messageId: 'm', capability: 'agent', priority: 'normal' },
        data: envelope('m', 's'),
      },
    ])
  })

  test('is done however often its workers died: a task that waits for its next attempt is no dead letter', async () => {
    const { entry } = await left('T')
    expect(await receive([{ ...entry, deliveries: 9 }])).toEqual([null])
    expect([(await due()).length, await deaths()]).toEqual([1, 0])
  })

  test.each([2, 9])('is done: the dead letter is written, with the history (delivery %i)', async (deliveries) => {
    const { entry, failure } = await left('F')
    expect(await receive([{ ...entry, deliveries }])).toEqual([null])
    const [letter] = await bare.xrange(keys.dead('agent'), '-', '+')
    expect(letter?.[1]).toEqual(
      expect.arrayContaining(['failed', 'GW_TASK_FAILED: boom', envelope('m', 's'), JSON.stringify([failure])]),
    )
  })
})

test('an entry with a turn whose record is gone does not run; it is buried', async () => {
  await bare.xadd(keys.control('agent'), '*', 'data', envelope('m', 's'), 'turn', '0')
  expect(await receive((await reader.take(atMost(10, reader.streams))).entries)).toEqual([null])
  expect(await records.get({ sessionId: 's', messageId: 'm' })).toBeNull()
  const [letter] = await bare.xrange(keys.dead('agent'), '-', '+')
  expect(letter?.[1]).toEqual(expect.arrayContaining(['record-gone', envelope('m', 's'), 'entry.turn', '0']))
})
