import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { Dispatcher } from '../../src/dispatch/send.ts'
import { TaskEnder } from '../../src/dispatch/task-ender.ts'
import type { Logger } from '../../src/logger.ts'
import { AskAgentCommand, GatewayCommand } from '../../src/protocol/command.ts'
import { RedisClient } from '../../src/redis/client.ts'
import type { Keys } from '../../src/redis/keys.ts'
import { Agenda } from '../../src/store/agenda.ts'
import { ControlWriter } from '../../src/store/control-writer.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { InboxWriter } from '../../src/store/inbox.ts'
import { LeftEntries } from '../../src/store/left-entries.ts'
import { Presence } from '../../src/store/presence.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { connect, openStore } from '../redis/harness.ts'
import { testRedisUrl } from '../support/redis.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { memoryLogger } from '../worker/harness.ts'

let keys: Keys
let bare: Redis
let redis: RedisClient
let records: TaskRecords
let open: (options?: { isCluster?: boolean; logger?: Logger; ender?: TaskEnder }) => Dispatcher
beforeEach(() => {
  const store = openStore()
  keys = store.keys
  bare = store.bare
  redis = store.redis
  records = new TaskRecords(store.redis, keys)
  open = ({ isCluster = false, logger = memoryLogger(), ender = enderOf(store.redis) } = {}) =>
    new Dispatcher({
      ...{ records, isCluster, maxPayloadBytes: 2_000, logger, ender },
      control: new ControlWriter(store.redis, keys),
      presence: new Presence(store.redis, keys),
      agenda: new Agenda(store.redis, keys),
      inboxes: new InboxWriter(store.redis, keys),
    })
})
/** One that has this connection. */
function enderOf(redis: RedisClient): TaskEnder {
  const records = new TaskRecords(redis, keys)
  const writer = new DataWriter(redis, keys, DEFAULT_RETENTION)
  const leftEntries = new LeftEntries(redis, keys, records)
  return new TaskEnder({ records, writer, agenda: new Agenda(redis, keys), leftEntries })
}
const ask = (messageId: string, change: Record<string, unknown> = {}) =>
  new AskAgentCommand({
    header: { messageId, sessionId: 's', traceId: 't', targetAgentType: 'agent', ...change },
    content: 'x',
  })

describe.each([false, true])('a send (on a Cluster: %s)', (isCluster) => {
  test('that comes again after the end of its task leaves no entry, be there a group or not', async () => {
    const dispatcher = open({ isCluster })
    const ref = { sessionId: 's', messageId: 'm' }
    await dispatcher.send(ask('m'))
    const [[id] = ['']] = await bare.xrange(keys.control('agent'), '-', '+')
    await records.begin('w', [{ ...ref, entryId: id, turn: '' }])
    await bare.hset(keys.task('s', 'm'), 'fence', `C:1:${id}:w`)
    await bare.del(keys.control('agent'))
    expect(await dispatcher.send(ask('m'))).toMatchObject({ status: 'QUEUED' })
    expect(await bare.exists(keys.control('agent'))).toBe(0)
    await bare.xgroup('CREATE', keys.control('agent'), 'g', '0', 'MKSTREAM')
    expect(await dispatcher.send(ask('m'))).toMatchObject({ status: 'QUEUED' })
    expect(await bare.xlen(keys.control('agent'))).toBe(0)
    // One that goes on has another entry: the first may be gone.
    await bare.hset(keys.task('s', 'm'), 'fence', 'Q:0::')
    await dispatcher.send(ask('m'))
    expect(await bare.xlen(keys.control('agent'))).toBe(1)
  })

  test('has its entry and its record when it is answered', async () => {
    const dispatcher = open({ isCluster })
    expect(await dispatcher.send(ask('m'))).toMatchObject({
      success: true,
      status: 'QUEUED',
      messageId: 'm',
      traceId: 't',
    })
    expect(await bare.xlen(keys.control('agent'))).toBe(1)
    expect(await records.get({ sessionId: 's', messageId: 'm' })).toMatchObject({
      status: 'QUEUED',
      agentType: 'agent',
    })
  })

  test('on behalf of a cancelled task is ended at once, which holds up or fails no send', async () => {
    const logger = memoryLogger()
    const proxy = await TcpProxy.start(Number(new URL(testRedisUrl()).port))
    onTestFinished(() => proxy.stop())
    const endersOwn = connect(proxy.url)
    const dispatcher = open({ isCluster, logger, ender: enderOf(endersOwn.client('prompt')) })
    await bare.hset(keys.task('s', 'above'), 'fence', 'X:0::')
    const below = (messageId: string) => ask(messageId, { parentMessageId: 'above' })
    const statusOf = async (messageId: string) => (await records.get({ sessionId: 's', messageId }))?.status
    await dispatcher.send(below('first'))
    expect(await statusOf('first')).toBe('CANCELLED')
    proxy.blackHole()
    const held = dispatcher.send(below('held'))
    const delayed = dispatcher.send(below('delayed'), { delayMs: 1_000 })
    const others = [dispatcher.send(ask('other')), dispatcher.send(ask('later'), { delayMs: 1_000 })]
    for (const other of others) expect(await other).toMatchObject({ status: 'QUEUED' })
    endersOwn.close()
    expect([await held, await delayed]).toMatchObject([{ status: 'QUEUED' }, { status: 'QUEUED' }])
    expect(logger.lines).toMatchObject([
      { level: 'warn', fields: { sessionId: 's', messageId: 'held' } },
      { level: 'warn', fields: { sessionId: 's', messageId: 'delayed' } },
    ])
    // Whoever takes them will end them.
    const agenda = new Agenda(redis, keys)
    expect(await agenda.holds([{ sessionId: 's', messageId: 'delayed', turn: '0' }])).toEqual([true])
  })

  test('many at once keep their order on each stream', async () => {
    const dispatcher = open({ isCluster })
    await Promise.all(
      Array.from({ length: 450 }, (_, i) => dispatcher.send(ask(`m-${i}`, { targetAgentType: `agent_${i % 3}` }))),
    )
    for (let stream = 0; stream < 3; stream += 1) {
      const entries = await bare.xrange(keys.control(`agent_${stream}`), '-', '+')
      const order = entries.map(([, [, data]]) => Number(JSON.parse(data as string).header.message_id.slice(2)))
      expect(order).toEqual(Array.from({ length: 150 }, (_, i) => 3 * i + stream))
    }
  })
})

test('a refusal writes nothing and says why', async () => {
  class Cyclic extends GatewayCommand {
    static readonly actionType = 'CYCLIC_OF_SEND_TEST'
    override toBody() {
      const body: Record<string, unknown> = {}
      body.self = body
      return body
    }
  }
  const dispatcher = open()
  const answers = await Promise.all([
    dispatcher.send(ask('m', { targetAgentType: 'a b' })),
    dispatcher.send(ask('m', { metadata: { text: 'x'.repeat(3_000) } })),
    dispatcher.send(new Cyclic(ask('m').header)),
    dispatcher.send(ask('m'), { requireOnlineWorker: true }),
  ])
  expect(answers.map((answer) => [answer.status, answer.success ? '' : answer.error.code])).toEqual([
    ['REJECTED', 'GW_INVALID_ARGUMENT'],
    ['REJECTED', 'GW_PAYLOAD_TOO_LARGE'],
    ['REJECTED', 'GW_INVALID_ARGUMENT'],
    ['NO_WORKER', 'GW_NO_ONLINE_WORKER'],
  ])
  expect(await bare.keys(`${keys.prefix}*`)).toEqual([])
})

test('what Redis does not take is thrown, for each of the batch', async () => {
  await bare.set(keys.control('agent'), 'no stream')
  const dispatcher = open()
  const sends = ['a', 'b'].map((messageId) => dispatcher.send(ask(messageId)))
  for (const send of sends) {
    await expect(send).rejects.toMatchObject({
      ...{ code: 'GW_REDIS_FAILED', message: expect.stringMatching(/the send of [ab] to 'agent'.*WRONGTYPE/) },
    })
  }
})

test.each(['before', 'after'])('beside a stream that is broken (%s it): there, and told so', async (place) => {
  await bare.set(keys.control('broken'), 'no stream')
  const dispatcher = open()
  const sends = [ask('bad', { targetAgentType: 'broken' }), ask('good')]
  if (place === 'before') sends.reverse()
  const answers = await Promise.allSettled(sends.map((command) => dispatcher.send(command)))
  const good = answers[sends.findIndex(({ header }) => header.messageId === 'good')]
  const bad = answers[sends.findIndex(({ header }) => header.messageId === 'bad')]
  expect(bad?.status).toBe('rejected')
  expect(good).toMatchObject({ status: 'fulfilled', value: { status: 'QUEUED' } })
  // Twice where it had been written before the other was refused; then the second entry is stale.
  expect(await bare.xlen(keys.control('agent'))).toBe(place === 'before' ? 2 : 1)
})

test('a delayed send of whose first answer nothing is heard has its appointment along with its record', async () => {
  const { script } = RedisClient.prototype
  const spy = vi.spyOn(RedisClient.prototype, 'script').mockImplementationOnce(async function (
    this: RedisClient,
    ...call
  ) {
    await script.apply(this, call)
    throw new Error('the connection was cut')
  })
  onTestFinished(() => spy.mockRestore())
  await expect(open().send(ask('m'), { delayMs: 60_000 })).rejects.toMatchObject({ code: 'GW_REDIS_FAILED' })
  expect((await records.get({ sessionId: 's', messageId: 'm' }))?.status).toBe('DELAYED')
  expect(
    await new Agenda(connect().client('prompt'), keys).holds([{ sessionId: 's', messageId: 'm', turn: '0' }]),
  ).toEqual([true])
})
