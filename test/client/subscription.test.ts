import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { GatewayClient } from '../../src/client/client.ts'
import { SessionFeeds } from '../../src/client/session-feeds.ts'
import { Subscription } from '../../src/client/subscription.ts'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { RedisConnections } from '../../src/redis/connections.ts'
import { resolveRedisOption } from '../../src/redis/options.ts'
import { idBefore } from '../../src/redis/streams.ts'
import { DataReader } from '../../src/store/data-reader.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { collect, envelope, Gate, House } from '../worker/harness.ts'

/** A house whose agent says as many words as its content asks for, and whose agent `gated` waits at the gate before its end. */
async function talkative(house: House): Promise<{ client: GatewayClient; gate: Gate }> {
  const gate = new Gate()
  onTestFinished(() => gate.open())
  await house.work(
    async (command, context) => {
      for (let i = 0; i < Number(command.content); i += 1) void context.emitChunk(`${i}`)
      if (context.agentType === 'gated') await gate.pass()
      return 'said'
    },
    { capabilities: ['agent', 'gated'] },
  )
  return { client: house.client(), gate }
}

const say = (client: GatewayClient, words: number, messageId: string, sessionId = 's') =>
  client.sendMessage({ targetAgentType: 'agent', sessionId, messageId, content: `${words}` })

const inShort = (event: SessionEvent) => (event.type === 'chunk' ? event.content : event.type)
const words = (count: number) => Array.from({ length: count }, (_, index) => `${index}`)

/** Takes so many events and leaves the subscription open. */
async function take(subscription: Subscription, count: number): Promise<SessionEvent[]> {
  const events: SessionEvent[] = []
  while (events.length < count) {
    const { done, value } = await subscription.next()
    if (done) throw new Error(`ended after ${events.length} of ${count} events`)
    events.push(value)
  }
  return events
}

describe('where it starts', () => {
  test('from now, if nothing is said', async () => {
    const house = new House()
    const { client } = await talkative(house)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '3' })
    const subscription = client.subscribe('s')
    await subscription.opened()
    await say(client, 2, 'm-2')
    const events = await take(subscription, 3)
    expect(events.map(inShort)).toEqual(['0', '1', 'done'])
    expect(events.every(({ messageId }) => messageId === 'm-2')).toBe(true)
  })

  test('what the same client sends right after subscribing is not missed, without waiting for anything', async () => {
    const house = new House()
    const { client } = await talkative(house)
    for (let round = 0; round < 20; round += 1) {
      const sessionId = `s-${round}`
      const subscription = client.subscribe(sessionId)
      void say(client, 2, 'm', sessionId)
      expect((await take(subscription, 3)).map(inShort)).toEqual(['0', '1', 'done'])
      await subscription.return()
    }
  })

  test('at any event: the rest, neither more nor less', async () => {
    const house = new House()
    const { client } = await talkative(house)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '29' })
    const all = await collect(client.subscribe('s', { after: '0', follow: false }))
    expect(all.map(inShort)).toEqual([...words(29), 'done'])
    const rests = await Promise.all(all.map(({ id }) => collect(client.subscribe('s', { after: id, follow: false }))))
    expect(rests).toEqual(all.map((_, index) => all.slice(index + 1)))
    // An id between two entries, and one without its second part.
    const [ms = 0, seq = 0] = (all[9] as SessionEvent).id.split('-').map(Number)
    expect(await collect(client.subscribe('s', { after: `${ms}-${seq + 1}`, follow: false }))).toEqual(
      all.filter(({ id }) => {
        const [otherMs = 0, otherSeq = 0] = id.split('-').map(Number)
        return otherMs > ms || (otherMs === ms && otherSeq > seq + 1)
      }),
    )
    const plain = await collect(client.subscribe('s', { after: `${ms}`, follow: false }))
    expect(plain.map(({ id }) => id)).toEqual(
      all.map(({ id }) => id).filter((id) => !(id === `${ms}-0` || Number(id.split('-')[0]) < ms)),
    )
  })

  test('with a message id at the beginning of its task', async () => {
    const house = new House()
    const { client } = await talkative(house)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '2', messageId: 'before' })
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '3', messageId: 'mine' })
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '2', messageId: 'after' })
    const events = await collect(client.subscribe('s', { messageId: 'mine' }))
    expect(events.map(inShort)).toEqual([...words(3), 'done'])
    expect(new Set(events.map(({ messageId }) => messageId))).toEqual(new Set(['mine']))
  })

  test('also where a clock was behind when the task began: that of the server before a failover', async () => {
    const house = new House()
    const client = house.client()
    const ref = { sessionId: 's', messageId: 'mine' }
    await say(client, 1, 'mine')
    const createdAt = (await client.getTask(ref))?.createdAt ?? 0
    const early = JSON.stringify({ event_type: 'chunk', message_id: 'mine', data: { content: 'early' } })
    await house.redis.xadd(house.keys.data('s'), `${createdAt - 30_000}-0`, 'data', early)
    const events = await collect(client.subscribe('s', { messageId: 'mine', follow: false }))
    expect(events.map(inShort)).toEqual(['early'])
  })

  test.each([['now'], ['1-2-3'], ['-1'], [''], ['abc'], ['$0'], ['99999999999999999']])('%j is no place', (after) => {
    const client = new House().client()
    expect(() => client.subscribe('s', { after })).toThrow(/^after is invalid/)
  })

  test.each([
    ['', {}, /^sessionId is invalid/],
    ['a b', {}, /^sessionId is invalid/],
    ['s', { messageId: 'a{b' }, /^messageId is invalid/],
    ['s', { idleTimeoutMs: 0 }, /^idleTimeoutMs is invalid/],
    ['s', { idleTimeoutMs: Number.NaN }, /^idleTimeoutMs is invalid/],
  ])('session %j with %j is refused at once', (sessionId, options, message) => {
    const client = new House().client()
    expect(() => client.subscribe(sessionId, options)).toThrow(message)
  })
})

describe('where it ends', () => {
  test('after the done of its task, and only of its own', async () => {
    const house = new House()
    const { client, gate } = await talkative(house)
    await client.sendMessage({ targetAgentType: 'gated', sessionId: 's', messageId: 'mine', content: '2' })
    const events = collect(client.subscribe('s', { messageId: 'mine' }))
    await gate.reached(1)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '5', messageId: 'other' })
    gate.open()
    expect((await events).map(inShort)).toEqual(['0', '1', 'done'])
  })

  test('at once for a reader who has had its done: it is not told again', async () => {
    const house = new House()
    const { client } = await talkative(house)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '2', messageId: 'mine' })
    const mine = await collect(client.subscribe('s', { messageId: 'mine' }))
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '1', messageId: 'other' })
    const [last] = (await collect(client.subscribe('s', { after: '0', follow: false }))).slice(-1)
    const rest = (after?: string) => collect(client.subscribe('s', { messageId: 'mine', after, idleTimeoutMs: 2_000 }))
    expect(await rest(mine[1]?.id)).toEqual(mine.slice(2))
    const before = performance.now()
    expect(await rest(mine[2]?.id)).toEqual([])
    expect(await rest(last?.id)).toEqual([])
    expect(performance.now() - before).toBeLessThan(1_500)
    // Who has named no event has had none.
    expect((await rest('$')).map(({ id }) => id)).toEqual([mine[2]?.id])
  })

  test('with its tree: the events of those it called too', async () => {
    const house = new House()
    const { client, gate } = await talkative(house)
    await client.sendMessage({ targetAgentType: 'gated', sessionId: 's', messageId: 'root', content: '1' })
    const tree = collect(client.subscribe('s', { messageId: 'root', tree: true }))
    const alone = collect(client.subscribe('s', { messageId: 'root' }))
    await gate.reached(1)
    const ask = (messageId: string, parentMessageId?: string) =>
      client.ask({ targetAgentType: 'agent', sessionId: 's', content: '1', messageId, parentMessageId })
    await ask('child', 'root')
    await ask('grandchild', 'child')
    await ask('stranger')
    await ask('stranger’s-child', 'stranger')
    gate.open()
    const told = (events: SessionEvent[]) => events.map((event) => `${event.messageId} ${inShort(event)}`)
    expect(told(await tree)).toEqual(
      ['root', 'child', 'child', 'grandchild', 'grandchild', 'root'].map(
        (id, i) => `${id} ${[1, 0].includes(i) || i === 3 ? 0 : 'done'}`,
      ),
    )
    expect(told(await alone)).toEqual(['root 0', 'root done'])
  })

  test('with its tree: also of those whose callers say nothing', async () => {
    const house = new House()
    const { client, gate } = await talkative(house)
    const silent = new Gate()
    await house.work(() => silent.pass(), { capabilities: ['silent'] })
    const send = (targetAgentType: string, messageId: string, parentMessageId?: string) =>
      client.sendMessage({ targetAgentType, sessionId: 's', content: '1', messageId, parentMessageId })
    await send('gated', 'root')
    await send('silent', 'child', 'root')
    await send('silent', 'stranger')
    const tree = collect(client.subscribe('s', { messageId: 'root', tree: true, after: '0' }))
    await Promise.all([gate.reached(1), silent.reached(2)])
    await client.ask({
      targetAgentType: 'agent',
      sessionId: 's',
      content: '2',
      messageId: 'a',
      parentMessageId: 'child',
    })
    await client.ask({
      targetAgentType: 'agent',
      sessionId: 's',
      content: '2',
      messageId: 'b',
      parentMessageId: 'stranger',
    })
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '1', messageId: 'c', parentMessageId: 'b' })
    gate.open()
    silent.open()
    const told = (await tree)
      .filter(({ type }) => type === 'chunk')
      .map((event) => `${event.messageId} ${inShort(event)}`)
    expect(told).toEqual(['root 0', 'a 0', 'a 1'])
  })

  test('with its tree: also where others are parents in a circle', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const ask = (messageId: string, parentMessageId?: string) =>
      client.ask({ targetAgentType: 'agent', sessionId: 's', content: '1', messageId, parentMessageId })
    await ask('a', 'b')
    await ask('b', 'a')
    await ask('self', 'self')
    await ask('root')
    const tree = client.subscribe('s', {
      messageId: 'root',
      tree: true,
      after: '0',
      signal: AbortSignal.timeout(10_000),
    })
    expect((await collect(tree)).map((event) => `${event.messageId} ${inShort(event)}`)).toEqual([
      'root 0',
      'root done',
    ])
  })

  test('at the present end, if it shall not follow', async () => {
    const house = new House()
    const { client, gate } = await talkative(house)
    await client.sendMessage({ targetAgentType: 'gated', sessionId: 's', messageId: 'mine', content: '600' })
    await gate.reached(1)
    await waitFor(async () => (await house.redis.xlen(house.keys.data('s'))) === 600)
    expect((await collect(client.subscribe('s', { after: '0', follow: false }))).map(inShort)).toEqual(words(600))
    expect((await collect(client.subscribe('s', { messageId: 'mine', follow: false }))).map(inShort)).toEqual(
      words(600),
    )
    expect(await collect(client.subscribe('s', { follow: false }))).toEqual([])
    expect(await collect(client.subscribe('nobody', { after: '0', follow: false }))).toEqual([])
  })

  test('when nothing came for the idle time, counted from the last event', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const before = performance.now()
    expect(await collect(client.subscribe('s', { idleTimeoutMs: 80 }))).toEqual([])
    expect(performance.now() - before).toBeGreaterThanOrEqual(75)
    const subscription = client.subscribe('s', { idleTimeoutMs: 700 })
    await subscription.opened()
    const events = collect(subscription)
    for (let i = 0; i < 4; i += 1) {
      await pause(300)
      await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '0' })
    }
    const last = performance.now()
    expect((await events).map(inShort)).toEqual(['done', 'done', 'done', 'done'])
    expect(performance.now() - last).toBeGreaterThan(500)
  })

  test('when nothing came for the idle time and the server is away, also where it never was there', {
    timeout: 40_000,
  }, async () => {
    const house = await House.private()
    const client = house.client()
    const opened = client.subscribe('opened', { after: '0', idleTimeoutMs: 300 })
    await opened.opened()
    await house.server.stop()
    const others = [client, house.client()].map((one) => one.subscribe('s', { after: '0', idleTimeoutMs: 300 }))
    const ends = [opened, ...others].map(async (subscription) => (await subscription.next()).done)
    expect(await Promise.all(ends)).toEqual([true, true, true])
  })

  test('not before its connection is there, however short the idle time: what there is, is told', async () => {
    const house = new House()
    const { client } = await talkative(house)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '2' })
    const proxy = await TcpProxy.start(Number(new URL(house.url).port))
    onTestFinished(() => proxy.stop())
    proxy.delay(60)
    const slow = house.client({ redis: proxy.url }).subscribe('s', { after: '0', idleTimeoutMs: 50 })
    expect((await collect(slow)).map(inShort)).toEqual(['0', '1', 'done'])
  })

  test('not because it was idle before: what came late is followed by as long a wait as any', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const connections = new RedisConnections(resolveRedisOption(house.url), house.logger)
    onTestFinished(() => connections.close())
    const commands = connections.client('prompt')
    const late = deferred()
    class LateReader extends DataReader {
      override async page(...args: Parameters<DataReader['page']>): ReturnType<DataReader['page']> {
        await late.promise
        return super.page(...args)
      }
    }
    const reader = new LateReader(commands, house.keys)
    const feeds = new SessionFeeds(connections, reader, house.logger)
    onTestFinished(() => feeds.close())
    const records = new TaskRecords(commands, house.keys)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '0' })
    const subscription = new Subscription({ feeds, reader, records }, 's', { after: '0', idleTimeoutMs: 600 })
    const first = subscription.next()
    await pause(900)
    late.resolve()
    expect(inShort((await first).value as SessionEvent)).toBe('done')
    const before = performance.now()
    expect((await subscription.next()).done).toBe(true)
    expect(performance.now() - before).toBeGreaterThan(300)
  })

  test('when its signal aborts, while it waits, before it began, and between two events', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const waiting = new AbortController()
    const waited = collect(client.subscribe('s', { signal: waiting.signal }))
    await pause(30)
    waiting.abort()
    expect(await waited).toEqual([])
    expect(await collect(client.subscribe('s', { after: '0', signal: AbortSignal.abort() }))).toEqual([])
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '10' })
    const between = new AbortController()
    const seen: string[] = []
    for await (const event of client.subscribe('s', { after: '0', signal: between.signal })) {
      if (seen.push(inShort(event)) === 3) between.abort()
    }
    expect(seen).toEqual(['0', '1', '2'])
  })

  test('by leaving the loop; the channel is left with the last reader', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const channel = house.keys.data('s')
    const heard = async () => ((await house.redis.pubsub('NUMSUB', channel)) as [string, number])[1]
    const other = client.subscribe('s')
    await other.opened()
    const subscription = client.subscribe('s', { after: '0' })
    await say(client, 5, 'm')
    for await (const event of subscription) if (inShort(event) === '2') break
    expect(await subscription.next()).toEqual({ done: true, value: undefined })
    expect(await heard()).toBe(1)
    expect((await take(other, 6)).map(inShort)).toEqual([...words(5), 'done'])
    await other.return()
    await waitFor(async () => (await heard()) === 0, { message: 'the channel to be left' })
    const again = client.subscribe('s')
    await again.opened()
    await say(client, 1, 'm-2')
    expect((await take(again, 2)).map(inShort)).toEqual(['0', 'done'])
  })

  test('by closing the client, also while it opens', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const open = client.subscribe('s')
    await open.opened()
    const waiting = collect(open)
    const opening = collect(client.subscribe('s-2'))
    await client.close()
    expect(await waiting).toEqual([])
    expect(await opening).toEqual([])
    expect(() => client.subscribe('s')).toThrow(/^the client is closed/)
  })
})

describe('what it gives', () => {
  test('calls that overlap are answered one after the other', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const subscription = client.subscribe('s', { after: '0', messageId: 'm' })
    const answers = Array.from({ length: 6 }, () => subscription.next())
    await say(client, 3, 'm')
    const results = await Promise.all(answers)
    expect(results.map(({ done, value }) => (done ? 'end' : inShort(value)))).toEqual([
      ...words(3),
      'done',
      'end',
      'end',
    ])
  })

  test('every reader gets every event, many readers and clients of one session', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const clients = [client, house.client(), house.client()]
    const readers = Array.from({ length: 60 }, (_, index) => {
      const reader = clients[index % clients.length] as GatewayClient
      return reader.subscribe('s', { messageId: 'm', after: index % 2 === 0 ? '0' : undefined })
    })
    await Promise.all(readers.map((reader) => reader.opened()))
    const all = Promise.all(readers.map(collect))
    await say(client, 300, 'm')
    for (const events of await all) expect(events.map(inShort)).toEqual([...words(300), 'done'])
  })

  test('tasks that talk at the same time are told apart, and each is in its order', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const whole = client.subscribe('s', { after: '0' })
    const ids = Array.from({ length: 10 }, (_, index) => `m-${index}`)
    await Promise.all(ids.map((messageId) => say(client, 100, messageId)))
    const events = await take(whole, 10 * 101)
    for (const id of ids) {
      expect(events.filter(({ messageId }) => messageId === id).map(inShort)).toEqual([...words(100), 'done'])
    }
    expect(new Set(events.map(({ id }) => id)).size).toBe(1010)
  })

  test('a late reader of a finished task gets it all', async () => {
    const house = new House()
    const { client } = await talkative(house)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '1000', messageId: 'm' })
    const events = await collect(house.client().subscribe('s', { messageId: 'm' }))
    expect(events.map(inShort)).toEqual([...words(1000), 'done'])
    expect(events.at(-1)).toMatchObject({ status: 'COMPLETED', result: 'said' })
  })

  test('of a finished task whose stream is gone, the done from its record', async () => {
    const house = new House()
    const { client } = await talkative(house)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '3', messageId: 'm' })
    const [real] = (await collect(client.subscribe('s', { after: '0', follow: false }))).slice(-1)
    await house.redis.del(house.keys.data('s'))
    const expected = [
      expect.objectContaining({ type: 'done', status: 'COMPLETED', result: 'said', id: real?.id, messageId: 'm' }),
    ]
    expect(await collect(client.subscribe('s', { messageId: 'm' }))).toEqual(expected)
    expect(await collect(client.subscribe('s', { messageId: 'm', follow: false }))).toEqual(expected)
    expect(await collect(client.subscribe('s', { messageId: 'm', after: '0' }))).toEqual(expected)
  })

  test('of a failed one too, with its error', async () => {
    const house = new House()
    await house.work(() => {
      throw new Error('boom')
    })
    const client = house.client()
    const { messageId } = await client.ask({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
    await house.redis.del(house.keys.data('s'))
    expect(await collect(client.subscribe('s', { messageId }))).toEqual([
      expect.objectContaining({ type: 'done', status: 'FAILED', error: { code: 'GW_TASK_FAILED', message: 'boom' } }),
    ])
  })

  test('also where only its end was trimmed, and others talk on in the session', async () => {
    const house = new House()
    const { client } = await talkative(house)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '3', messageId: 'm' })
    const end = (await house.redis.xrevrange(house.keys.data('s'), '+', '-', 'COUNT', 1))[0]?.[0] as string
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '3' })
    await house.redis.xtrim(house.keys.data('s'), 'MINID', end)
    await house.redis.xdel(house.keys.data('s'), end)
    let talking = true
    const talk = (async () => {
      while (talking) await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '1' })
    })()
    const late = client.subscribe('s', { messageId: 'm', signal: AbortSignal.timeout(6_000) })
    const events = (await collect(late)).filter(({ type }) => type !== 'gap')
    talking = false
    await talk
    expect(events).toEqual([expect.objectContaining({ type: 'done', status: 'COMPLETED', messageId: 'm' })])
  })

  test('or the failure of a look, also where a push came first and nobody waits any more', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const connections = new RedisConnections(resolveRedisOption(house.url), house.logger)
    onTestFinished(() => connections.close())
    const commands = connections.client('prompt')
    const failing = deferred()
    class FailingReader extends DataReader {
      override async page(): ReturnType<DataReader['page']> {
        await failing.promise
        throw new Error('no page')
      }
    }
    const reader = new FailingReader(commands, house.keys)
    const feeds = new SessionFeeds(connections, reader, house.logger)
    onTestFinished(() => feeds.close())
    const records = new TaskRecords(commands, house.keys)
    const subscription = new Subscription({ feeds, reader, records }, 's', { after: '0' })
    await subscription.opened()
    const first = subscription.next()
    await say(client, 1, 'm')
    expect(inShort((await first).value as SessionEvent)).toBe('0')
    failing.resolve()
    await subscription.ended
    await expect(subscription.next()).rejects.toThrow('no page')
    expect(await subscription.next()).toEqual({ done: true, value: undefined })
  })

  test('one done, also when it arrives while the record is looked at', async () => {
    const house = new House()
    const { client, gate } = await talkative(house)
    const connections = new RedisConnections(resolveRedisOption(house.url), house.logger)
    onTestFinished(() => connections.close())
    const commands = connections.client('prompt')
    const reader = new DataReader(commands, house.keys)
    const feeds = new SessionFeeds(connections, reader, house.logger)
    onTestFinished(() => feeds.close())
    const looking = deferred()
    const ended = deferred()
    class SlowRecords extends TaskRecords {
      override async getEnd(ref: Parameters<TaskRecords['getEnd']>[0]) {
        looking.resolve()
        await ended.promise
        return super.getEnd(ref)
      }
    }
    await client.sendMessage({ targetAgentType: 'gated', sessionId: 's', messageId: 'm', content: '0' })
    await gate.reached(1)
    const resources = { feeds, reader, records: new SlowRecords(commands, house.keys) }
    const subscription = new Subscription(resources, 's', { messageId: 'm' })
    const events = collect(subscription)
    await looking.promise
    // A second reader of the same feed, after the first: what he has, the first one has.
    const others = { ...resources, records: new TaskRecords(commands, house.keys) }
    const second = new Subscription(others, 's', { after: '0' })
    gate.open()
    expect((await take(second, 1)).map(inShort)).toEqual(['done'])
    await second.return()
    ended.resolve()
    expect((await events).map(inShort)).toEqual(['done'])
  })

  test('entries of writers who do not push, soon, and once', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const subscription = client.subscribe('s')
    await subscription.opened()
    const add = (text: string) => house.redis.xadd(house.keys.data('s'), '*', 'data', JSON.stringify({ text }))
    const taken = take(subscription, 1)
    await pause(100) // it has looked at the stream and waits
    const first = await add('one')
    const before = performance.now()
    const [event] = await taken
    expect(event).toMatchObject({ type: 'data', id: first, data: { text: 'one' } })
    expect(performance.now() - before).toBeLessThan(5_000)
    // From now on it looks more often.
    await add('two')
    await add('three')
    const again = performance.now()
    expect((await take(subscription, 2)).map((next) => next.type === 'data' && next.data)).toEqual([
      ...[{ text: 'two' }, { text: 'three' }],
    ])
    expect(performance.now() - again).toBeLessThan(1_500)
    // One who pushes comes after one who does not: nothing is skipped, the order holds.
    await add('four')
    await say(client, 1, 'm')
    expect((await take(subscription, 3)).map((next) => (next.type === 'data' ? next.data : inShort(next)))).toEqual([
      ...[{ text: 'four' }, '0', 'done'],
    ])
  })

  test('what others say on the channel of a session does no harm', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const subscription = client.subscribe('s')
    const taken = take(subscription, 2)
    await subscription.opened()
    await pause(100) // it has looked at the stream and waits
    for (const said of ['', 'hello', '0-0 later\n{}', '{"type":"chunk"}']) {
      expect(await house.redis.publish(house.keys.data('s'), said)).toBe(1)
    }
    await say(client, 1, 'm')
    expect((await taken).map(inShort)).toEqual(['0', 'done'])
  })

  test('entries that are nothing we know, as data', async () => {
    const house = new House()
    const client = house.client()
    const key = house.keys.data('s')
    await house.redis.xadd(key, '*', 'payload', 'x')
    await house.redis.xadd(key, '*', 'data', 'no json')
    await house.redis.xadd(
      key,
      '*',
      'event_id',
      '7',
      'data',
      JSON.stringify({ event_type: 'answerDelta', data: { id: 'ABC' } }),
    )
    const events = await collect(client.subscribe('s', { after: '0', follow: false }))
    expect(events.map((event) => (event.type === 'data' ? event.data : event))).toEqual([
      ...[null, 'no json', { event_type: 'answerDelta', data: { id: 'ABC' } }],
    ])
  })
})

describe('gaps', () => {
  /** A session of 100 words and its end; answers the ids. */
  async function hundred(house: House, client: GatewayClient): Promise<string[]> {
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '100', messageId: 'm' })
    return (await house.redis.xrange(house.keys.data('s'), '-', '+')).map(([id]) => id)
  }

  test('a reader who comes too late is told what he cannot see', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const ids = await hundred(house, client)
    await house.redis.xtrim(house.keys.data('s'), 'MINID', ids[60] as string)
    const events = await collect(client.subscribe('s', { after: ids[20], follow: false }))
    expect(events.slice(0, 2)).toEqual([
      expect.objectContaining({ type: 'gap', fromId: ids[20], id: idBefore(ids[60] as string), sessionId: 's' }),
      expect.objectContaining({ type: 'chunk', content: '60', id: ids[60] }),
    ])
    expect(events).toHaveLength(42)
    const rest = await collect(client.subscribe('s', { after: events[0]?.id, follow: false }))
    expect(rest).toEqual(events.slice(1))
    const fromStart = await collect(client.subscribe('s', { after: '0', follow: false, messageId: 'm' }))
    expect(fromStart.slice(0, 2).map(inShort)).toEqual(['gap', '60'])
  })

  test('one who comes late to one task, too: what it began with is gone', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const ids = await hundred(house, client)
    await pause(5)
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: '3', messageId: 'later' })
    expect((await collect(client.subscribe('s', { messageId: 'm', follow: false }))).map(inShort).slice(0, 2)).toEqual([
      ...['0', '1'],
    ])
    await house.redis.xtrim(house.keys.data('s'), 'MINID', ids[60] as string)
    const late = await collect(client.subscribe('s', { messageId: 'm', follow: false }))
    expect(late.map(inShort).slice(0, 2)).toEqual(['gap', '60'])
    // The trimmed part was over before that one began.
    const ends = (await house.redis.xrange(house.keys.data('s'), '-', '+')).map(([id]) => id)
    await house.redis.xtrim(house.keys.data('s'), 'MAXLEN', 5)
    const later = await collect(client.subscribe('s', { messageId: 'later', follow: false }))
    expect(ends.length).toBeGreaterThan(5)
    expect(later.map(inShort)).toEqual(['0', '1', '2', 'done'])
  })

  test('one who comes late to a task of several attempts, too', async () => {
    const house = new House()
    await house.work(
      async (_command, context) => {
        await pause(5)
        for (const word of words(3)) await context.emitChunk(word)
        if (context.attempt === 1) throw new Error('once more')
      },
      { retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 5 } } },
    )
    const client = house.client()
    await client.ask({ targetAgentType: 'agent', sessionId: 's', content: 'x', messageId: 'm' })
    const key = house.keys.data('s')
    const second = (await house.redis.xrange(key, '-', '+'))[1]?.[0] as string
    await house.redis.xtrim(key, 'MINID', second)
    const late = await collect(client.subscribe('s', { messageId: 'm', follow: false }))
    expect(late.map(inShort).slice(0, 2)).toEqual(['gap', '1'])
  })

  test('one who misses nothing is told of none', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const ids = await hundred(house, client)
    await house.redis.xtrim(house.keys.data('s'), 'MINID', ids[60] as string)
    for (const index of [60, 61, 99]) {
      const events = await collect(client.subscribe('s', { after: ids[index], follow: false }))
      expect(events.map(inShort)).toEqual([...words(100), 'done'].slice(index + 1))
    }
    const whole = await collect(client.subscribe('s-2', { after: '0', follow: false }))
    expect(whole).toEqual([])
  })

  test('one who reads slower than is trimmed keeps a bounded buffer, and is told of the gap once', async () => {
    const house = new House()
    const { client } = await talkative(house)
    const subscription = client.subscribe('s', { after: '0' })
    const first = take(subscription, 1)
    await say(client, 20_000, 'm')
    await first
    await client.result({ sessionId: 's', messageId: 'm' })
    const ids = (await house.redis.xrange(house.keys.data('s'), '-', '+')).map(([id]) => id)
    expect(ids).toHaveLength(20_001)
    await house.redis.xtrim(house.keys.data('s'), 'MINID', ids[15_000] as string)
    const events = await collect(client.subscribe('s', { after: ids[15_000], follow: false }))
    expect(events).toHaveLength(5_000)
    const read: SessionEvent[] = []
    for await (const event of subscription) {
      read.push(event)
      if (event.type === 'done') break
    }
    const gaps = read.filter(({ type }) => type === 'gap')
    expect(gaps).toHaveLength(1)
    const kept = read.findIndex(({ type }) => type === 'gap')
    expect(kept).toBeLessThan(1_100)
    expect(read.slice(0, kept).map(inShort)).toEqual(words(20_000).slice(1, kept + 1))
    expect(read.slice(kept + 1).map(inShort)).toEqual([...words(20_000).slice(15_000), 'done'])
    expect(gaps[0]).toMatchObject({ fromId: ids[kept], id: idBefore(ids[15_000] as string) })
  })
})

test('one who reads 20,000 events slowly gets each once, in order', async () => {
  const house = new House()
  const { client } = await talkative(house)
  const subscription = client.subscribe('s', { after: '0', messageId: 'm' })
  await say(client, 20_000, 'm')
  const read: string[] = []
  for await (const event of subscription) {
    read.push(inShort(event))
    if (read.length % 100 === 0) await pause(1)
  }
  expect(read).toEqual([...words(20_000), 'done'])
})

test('ten readers, two thousand events, and the push connection cut again and again: no gap, no repeat', async () => {
  const house = await House.private()
  await house.work(async (_command, context) => {
    for (let i = 0; i < 2_000; i += 1) {
      void context.emitChunk(`${i}`)
      if (i % 10 === 0) await pause(1)
    }
  })
  const client = house.client()
  const second = house.client()
  const readers = Array.from({ length: 10 }, (_, index) => {
    const whose = index % 2 === 0 ? client : second
    return whose.subscribe('s', index % 3 === 0 ? { after: '0' } : { messageId: 'm', after: '0' })
  })
  await Promise.all(readers.map((reader) => reader.opened()))
  const read = readers.map(async (reader) => {
    const seen: string[] = []
    for await (const event of reader) {
      seen.push(inShort(event))
      if (event.type === 'done') break
    }
    return seen
  })
  await say(client, 0, 'm')
  let cuts = 0
  const all = Promise.all(read)
  let reading = true
  const cutting = (async () => {
    while (reading) {
      cuts += (await house.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')) as number
      await pause(Math.random() * 40)
    }
  })()
  await all.finally(() => {
    reading = false
  })
  await cutting
  expect(cuts).toBeGreaterThan(5)
  for (const seen of await all) expect(seen).toEqual([...words(2_000), 'done'])
})

test('a foreign event that forges an id does not lead a reader astray', async () => {
  const house = new House()
  const { client } = await talkative(house)
  const forged = { event_type: 'done', message_id: 'x', data: { id: '9999999999999-0', status: 'COMPLETED' } }
  await house.redis.xadd(house.keys.data('s'), '*', 'data', JSON.stringify(forged))
  const subscription = client.subscribe('s', { after: '0', idleTimeoutMs: 3_000 })
  await take(subscription, 1)
  await say(client, 2, 'm')
  expect((await take(subscription, 3)).map(inShort)).toEqual(['0', '1', 'done'])
})

test('an envelope of another program has its events too', async () => {
  const house = new House()
  const { client } = await talkative(house)
  const subscription = client.subscribe('s', { messageId: 'raw', after: '0' })
  await house.add({ data: envelope('raw', 's', { content: '2' }) })
  expect((await collect(subscription)).map(inShort)).toEqual(['0', '1', 'done'])
})

test('what is said in another database of the same server reaches nobody here', async () => {
  const house = await House.private()
  const { client } = await talkative(house)
  const other = new House(`${house.url.replace(/\/\d*$/, '')}/1`, house.prefix)
  const stranger = await talkative(other)
  const here = collect(client.subscribe('s', { idleTimeoutMs: 1_000 }))
  const there = collect(stranger.client.subscribe('s', { idleTimeoutMs: 1_000 }))
  await pause(100)
  await say(stranger.client, 3, 'theirs')
  await stranger.client.result({ sessionId: 's', messageId: 'theirs' })
  await say(client, 2, 'ours')
  expect((await here).map(({ messageId }) => messageId)).toEqual(['ours', 'ours', 'ours'])
  expect((await there).map(({ messageId }) => messageId)).toEqual(Array(4).fill('theirs'))
})
