import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { GatewayClient } from '../../src/client/client.ts'
import { eventEncoder, type SessionEvent } from '../../src/protocol/event.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Gate, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

describe('result', () => {
  test('of a task that has ended, that runs, that waits, and that is not sent yet', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    await house.work((command) => (command.content === 'wait' ? gate.pass().then(() => 'waited') : command.content), {
      maxConcurrency: 1,
    })
    await client.sendMessage({ ...send, messageId: 'ended' })
    await client.result({ sessionId: 's', messageId: 'ended' })
    await client.sendMessage({ ...send, messageId: 'runs', content: 'wait' })
    await gate.reached(1)
    await client.sendMessage({ ...send, messageId: 'waits' })
    const results = Promise.all(
      ['ended', 'runs', 'waits', 'unsent'].map((messageId) => client.result({ sessionId: 's', messageId })),
    )
    await new Promise((resolve) => setTimeout(resolve, 50))
    await client.sendMessage({ ...send, messageId: 'unsent' })
    gate.open()
    expect((await results).map(({ data }) => data)).toEqual(['hi', 'waited', 'hi', 'hi'])
  })

  test('many wait for the same, from several clients', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(() => gate.pass().then(() => 'x'))
    const clients = [house.client(), house.client()]
    const waiting = Array.from({ length: 20 }, (_, i) => clients[i % 2]?.result({ sessionId: 's', messageId: 'm' }))
    await clients[0]?.sendMessage({ ...send, messageId: 'm' })
    await gate.reached(1)
    gate.open()
    for (const result of await Promise.all(waiting)) expect(result).toMatchObject({ status: 'COMPLETED', data: 'x' })
  })

  test('that does not come in time rejects with GW_TIMEOUT, and the task goes on', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    await house.work(() => gate.pass().then(() => 'late'))
    const { messageId } = await client.sendMessage(send)
    const before = performance.now()
    await expect(client.result({ sessionId: 's', messageId, timeoutMs: 80 })).rejects.toMatchObject({
      ...{ code: 'GW_TIMEOUT', message: `the end of ${messageId} did not come within 80 ms` },
    })
    expect(performance.now() - before).toBeLessThan(2_000)
    gate.open()
    expect(await client.result({ sessionId: 's', messageId })).toMatchObject({ data: 'late' })
  })

  test('whose record has expired while it was waited for is gone, and says so', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    await house.work(() => gate.pass(), { resultTtlMs: 1 })
    const { messageId } = await client.sendMessage(send)
    const result = client.result({ sessionId: 's', messageId })
    const outcome = result.then(
      ({ status }) => status,
      ({ code }) => code,
    )
    await gate.reached(1)
    gate.open()
    // Whether one millisecond is enough to read it is luck; hanging is not allowed.
    expect(['COMPLETED', 'GW_RESULT_GONE']).toContain(await outcome)
  })

  test('whose record is gone is not lost as long as the stream has its end', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    await house.work(() => gate.pass())
    const { messageId } = await client.sendMessage(send)
    await gate.reached(1)
    const result = client.result({ sessionId: 's', messageId, timeoutMs: 20_000 })
    const outcome = result.catch(({ code }) => code)
    await waitFor(
      async () => ((await house.redis.pubsub('CHANNELS', `${house.keys.data('s')}*`)) as string[]).length === 1,
    )
    const done = eventEncoder({ messageId, sessionId: 's', traceId: 't', parentMessageId: '' }, 'agent')
    const events = Array.from({ length: 40 }, (_, n) => done({ type: 'chunk', content: String(n) }, 1))
    events.push(done({ type: 'done', status: 'COMPLETED', result: 1 }, 1))
    // As when nobody hears it for longer than records are kept.
    const lost = house.redis.multi()
    for (const event of events) lost.xadd(house.keys.data('s'), '*', 'data', event)
    await lost.del(house.keys.task('s', messageId)).exec()
    expect(await outcome).toBe('GW_RESULT_GONE')
    gate.open()
  })

  test('is that of the life which the task has: an end of which only a push knows is none', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(() => gate.pass())
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    await gate.reached(1)
    const result = client.result({ sessionId: 's', messageId, timeoutMs: 10_000 })
    const outcome = result.catch(({ code }) => code)
    const channel = await waitFor(async () => {
      const channels = (await house.redis.pubsub('CHANNELS', `${house.keys.data('s')}*`)) as string[]
      return channels[0]
    })
    // As from a life before, where it was redriven before the reader came to look at the record.
    const done = eventEncoder({ messageId, sessionId: 's', traceId: 't', parentMessageId: '' }, 'agent')
    await house.redis.publish(channel, `0-0 1-1\n${done({ type: 'done', status: 'FAILED' }, 1)}`)
    await client.getTask({ sessionId: 's', messageId })
    gate.open()
    expect(await outcome).toMatchObject({ status: 'COMPLETED' })
  })

  test('a time that no timer can hold is not taken for no time at all', async () => {
    const client = new House().client()
    const days = 30 * 86_400_000
    const controller = new AbortController()
    const { signal } = controller
    setTimeout(() => controller.abort(new Error('enough')), 60)
    const refused = (error: { code?: string; message: string }) => error.code ?? error.message
    const waiting = [
      client.result({ sessionId: 's', messageId: 'm', timeoutMs: days, signal }),
      client.ask({ ...send, timeoutMs: days, signal }),
      Promise.resolve().then(() => client.subscribe('s', { idleTimeoutMs: days, signal }).next()),
    ]
    const before = performance.now()
    const outcomes = await Promise.all(waiting.map((promise) => promise.catch(refused)))
    for (const outcome of outcomes.slice(0, 2)) expect(['enough', 'GW_INVALID_ARGUMENT']).toContain(outcome)
    if (outcomes[2] !== 'GW_INVALID_ARGUMENT') expect(performance.now() - before).toBeGreaterThan(50)
  })

  test('ends with its signal, before and during the wait', async () => {
    const client = new House().client()
    const controller = new AbortController()
    const waiting = client.result({ sessionId: 's', messageId: 'm', signal: controller.signal })
    await new Promise((resolve) => setTimeout(resolve, 30))
    controller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    const aborted = AbortSignal.abort(new Error('before'))
    await expect(client.result({ sessionId: 's', messageId: 'm', signal: aborted })).rejects.toThrow('before')
  })

  test.each([
    [{ sessionId: 's s', messageId: 'm' }, /^sessionId is invalid/],
    [{ sessionId: 's', messageId: '' }, /^messageId is invalid/],
  ])('with %j is refused', async (options, message) => {
    await expect(new House().client().result(options)).rejects.toThrow(message)
  })
})

describe('ask', () => {
  test('sends, tells the events in order, and resolves with the result', async () => {
    const house = new House()
    await house.work(async (command, context) => {
      for (const word of String(command.content).split(' ')) await context.emitChunk(word)
      return { content: 'done with it' }
    })
    const client = house.client()
    const events: SessionEvent[] = []
    const result = await client.ask({ ...send, content: 'a b c', onEvent: (event) => events.push(event) })
    expect(result).toMatchObject({ status: 'COMPLETED', content: 'done with it', attempts: 1 })
    expect(events.map((event) => (event.type === 'chunk' ? event.content : event.type))).toEqual([
      'a',
      'b',
      'c',
      'done',
    ])
    expect(events.every(({ messageId }) => messageId === result.messageId)).toBe(true)
  })

  test('of a message id that was sent before tells the events from the beginning of its task', async () => {
    const house = new House()
    await house.work((_command, context) => context.emitChunk('once'))
    const client = house.client()
    const ask = async () => {
      const events: string[] = []
      await client.ask({ ...send, messageId: 'm', onEvent: ({ type }) => events.push(type) })
      return events
    }
    expect([await ask(), await ask()]).toEqual([
      ['chunk', 'done'],
      ['chunk', 'done'],
    ])
  })

  test('many at once in one session each get their own', async () => {
    const house = new House()
    await house.work(async (command, context) => {
      await context.emitChunk(`said ${command.content}`)
      return command.content
    })
    const client = house.client()
    const results = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const events: string[] = []
        const onEvent = (event: SessionEvent) => events.push(event.type === 'chunk' ? event.content : event.type)
        const { data } = await client.ask({ ...send, content: `${i}`, onEvent })
        return [data, ...events]
      }),
    )
    expect(results).toEqual(Array.from({ length: 200 }, (_, i) => [`${i}`, `said ${i}`, 'done']))
  })

  test('a failed task resolves', async () => {
    const house = new House()
    await house.work(() => {
      throw new Error('boom')
    })
    expect(await house.client().ask(send)).toMatchObject({ status: 'FAILED', error: { message: 'boom' } })
  })

  test('a refused send rejects with GW_SEND_REFUSED', async () => {
    const client = new House().client()
    for (const change of [
      { requireOnlineWorker: true },
      { content: ' ' },
      { sessionId: 'a b' },
      { messageId: 'a b' },
    ]) {
      await expect(client.ask({ ...send, ...change })).rejects.toMatchObject({ code: 'GW_SEND_REFUSED' })
    }
    await expect(client.ask({ ...send, requireOnlineWorker: true })).rejects.toThrow(/NO_WORKER.*no live worker/)
  })

  test('that takes too long rejects with GW_TIMEOUT, also where the message id was given', async () => {
    const client = new House().client()
    for (const messageId of [undefined, 'm']) {
      await expect(client.ask({ ...send, messageId, timeoutMs: 60 })).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
    }
  })

  test('ends with its signal', async () => {
    const client = new House().client()
    const controller = new AbortController()
    const asked = client.ask({ ...send, signal: controller.signal })
    await new Promise((resolve) => setTimeout(resolve, 30))
    controller.abort(new Error('enough'))
    await expect(asked).rejects.toThrow('enough')
    await expect(client.ask({ ...send, signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before')
  })

  test('goes on into the life that its task began after its end, where it was redriven while it was told', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(
      async (_command, context) => {
        if (context.fencingToken === 1) throw new Error('boom')
        await context.emitChunk('again')
        await gate.pass()
        return 'second life'
      },
      { retry: { maxAttempts: 1 } },
    )
    const client = house.client()
    const told: string[] = []
    const onEvent = async (event: SessionEvent) => {
      told.push(event.type === 'done' ? event.status : event.type)
      if (event.type === 'chunk') gate.open()
      const redrive = () => client.redriveDeadLetters({ capability: 'agent' })
      if (told.at(-1) === 'FAILED') await waitFor(async () => (await redrive()).redriven > 0)
    }
    const asked = client.ask({ ...send, onEvent, timeoutMs: 10_000 })
    expect(await asked).toMatchObject({ status: 'COMPLETED', data: 'second life' })
    expect(told.filter((what) => what !== 'rewind')).toEqual(['error', 'FAILED', 'chunk', 'COMPLETED'])
  })

  test('whose task is lost before anybody has seen it rejects, since it was accepted', async () => {
    const house = new House()
    const client = house.client({
      interceptors: {
        send: async (request, next) => {
          const answer = await next(request)
          await house.redis.del(house.keys.task('s', answer.messageId))
          return answer
        },
      },
    })
    const asks = [undefined, () => undefined].map((onEvent) => client.ask({ ...send, onEvent, timeoutMs: 20_000 }))
    expect(await Promise.allSettled(asks)).toMatchObject(asks.map(() => ({ reason: { code: 'GW_TASK_LOST' } })))
  })

  test('a listener that throws rejects the ask, not the task', async () => {
    const house = new House()
    await house.work(() => 'fine')
    const client = house.client()
    const onEvent = () => {
      throw new Error('my fault')
    }
    await expect(client.ask({ ...send, messageId: 'm', onEvent })).rejects.toThrow('my fault')
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ data: 'fine' })
  })

  test('a listener that takes its time is waited for, and its rejection rejects the ask', async () => {
    const house = new House()
    await house.work((_, context) => context.emitChunk('x'))
    const client = house.client()
    const heard: string[] = []
    const onEvent = async ({ type }: SessionEvent) => {
      heard.push(`${type} begins`)
      await new Promise((resolve) => setTimeout(resolve, 20))
      heard.push(`${type} ends`)
    }
    await client.ask({ ...send, messageId: 'm-1', onEvent })
    expect(heard).toEqual(['chunk begins', 'chunk ends', 'done begins', 'done ends'])
    const failing = () => Promise.reject(new Error('my fault'))
    await expect(client.ask({ ...send, messageId: 'm-2', onEvent: failing })).rejects.toThrow('my fault')
    const hanging = () => new Promise<void>(() => undefined)
    const late = client.ask({ ...send, messageId: 'm-3', onEvent: hanging, timeoutMs: 200 })
    await expect(late).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
  })
})

test.each<[string, (client: GatewayClient) => Promise<unknown>]>([
  ['a result', (client) => client.result({ sessionId: 's', messageId: 'm', timeoutMs: 100 })],
  ['an ask', (client) => client.ask({ ...send, messageId: 'm', timeoutMs: 100 })],
  ['an ask that hears events', (client) => client.ask({ ...send, messageId: 'm', onEvent: () => 0, timeoutMs: 100 })],
  ['a text', (client) => client.text('s', 'm', { timeoutMs: 100 })],
])('%s that was given up asks for nothing any more', async (_what, wait) => {
  const client = new House().client()
  await client.sendMessage({ ...send, messageId: 'm' })
  const looks = vi.spyOn(TaskRecords.prototype, 'getEnd')
  onTestFinished(() => looks.mockRestore())
  await expect(wait(client)).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
  await pause(100) // what was under way ends
  const before = looks.mock.calls.length
  await pause(300)
  expect(looks).toHaveBeenCalledTimes(before)
})

describe('close', () => {
  test('rejects what waits with GW_CLOSED, and everything that comes later', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    await house.work(() => gate.pass())
    const waiting = [
      client.ask(send),
      client.ask({ ...send, messageId: 'known' }),
      client.result({ sessionId: 's', messageId: 'never' }),
      client.ask({ ...send, timeoutMs: 60_000 }),
    ]
    const outcomes = Promise.all(
      waiting.map((promise) =>
        promise.then(
          () => 'resolved',
          ({ code }) => code,
        ),
      ),
    )
    await gate.reached(3)
    await client.close()
    expect(await outcomes).toEqual(['GW_CLOSED', 'GW_CLOSED', 'GW_CLOSED', 'GW_CLOSED'])
    await client.close()
    const closed = expect.objectContaining({ code: 'GW_CLOSED' })
    await expect(client.sendMessage(send)).rejects.toEqual(closed)
    await expect(client.ask(send)).rejects.toEqual(closed)
    await expect(client.result({ sessionId: 's', messageId: 'm' })).rejects.toEqual(closed)
    await expect(client.listTasks()).rejects.toEqual(closed)
    gate.open()
  })

  test('rejects what has only just begun with an error of this library', async () => {
    const house = new House()
    const codes = (error: { code?: string; message: string }) => error.code ?? error.message
    for (let round = 0; round < 10; round += 1) {
      const client = house.client()
      await client.listWorkers()
      const begun: Promise<unknown>[] = [
        client.result({ sessionId: 's', messageId: 'm' }),
        client.ask(send),
        client.getTask({ sessionId: 's', messageId: 'm' }),
        client.listTasks(),
        client.listWorkers(),
        client.sendMessage(send),
      ]
      const outcomes = Promise.all(begun.map((promise) => promise.then(() => 'resolved', codes)))
      for (let turn = 0; turn < round; turn += 1) await new Promise(setImmediate)
      await client.close()
      for (const outcome of await outcomes) expect(outcome).toMatch(/^(resolved|GW_[A-Z_]+)$/)
    }
  })

  test('what answers with a promise rejects and does not throw', async () => {
    const client = new House().client()
    await client.close()
    const calls: (() => Promise<unknown>)[] = [
      () => client.getTask({ sessionId: 's', messageId: 'm' }),
      () => client.listWorkers(),
      () => client.listDeadLetters('agent'),
      () => client.listTasks(),
      () => client.sendMessage(send),
    ]
    const answers = calls.map((call) => {
      try {
        return call().then(
          () => 'resolved',
          ({ code }) => code,
        )
      } catch {
        return 'threw'
      }
    })
    expect(await Promise.all(answers)).toEqual(calls.map(() => 'GW_CLOSED'))
  })

  test('of a client that was never used does no harm, also by `await using`', async () => {
    const house = new House()
    {
      await using client = house.client()
      expect(client).toBeDefined()
    }
    await house.client().close()
  })

  test('leaves no connection behind', async () => {
    const house = await House.private()
    const count = async () => ((await house.redis.client('LIST')) as string).trim().split('\n').length
    const before = await count()
    const client = house.client()
    const subscription = client.subscribe('s')
    await subscription.opened()
    await client.sendMessage(send)
    expect(await count()).toBe(before + 2)
    await client.close()
    await waitFor(async () => (await count()) === before)
  })
})

test('the limit of an attempt is taskTimeoutMs in an ask, where timeoutMs is the time to wait', async () => {
  const house = new House()
  await house.work((_command, { signal }) => new Promise((_, reject) => signal.addEventListener('abort', reject)))
  const answer = await house.client().ask({ ...send, taskTimeoutMs: 30, timeoutMs: 15_000 })
  expect(answer).toMatchObject({ status: 'FAILED', error: { code: 'GW_TASK_TIMEOUT' } })
})
