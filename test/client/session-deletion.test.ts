import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import type { DeleteSessionOptions } from '../../src/client/session-deletion.ts'
import { Canceller } from '../../src/dispatch/canceller.ts'
import { MemoryHistory } from '../../src/history/memory.ts'
import { RedisHistory } from '../../src/history/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { Gate, House } from '../worker/harness.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** Keys and entries that name a session. */
async function traces(house: House, sessionId: string): Promise<string[]> {
  const keys = await house.redis.keys(`${house.prefix}:*`)
  const found = keys.filter((key) => key.includes(sessionId))
  for (const key of keys) {
    if ((await house.redis.type(key)) !== 'stream') continue
    const entries = await house.redis.xrange(key, '-', '+')
    // Wake-ups for a worker name sessions, say nothing, and go within the hour.
    if (key.includes(':ctrl:worker:')) continue
    found.push(...entries.filter((entry) => JSON.stringify(entry).includes(sessionId)).map(() => key))
  }
  return found
}

const send = (house: House, sessionId: string, content = 'hello', more = {}) =>
  house.client().sendMessage({ targetAgentType: 'agent', sessionId, content, ...more })

describe('a session is deleted', () => {
  test('with its messages, events, records, journals and dead letters', async () => {
    const house = new House()
    const history = new RedisHistory({ redis: house.url, keyPrefix: house.prefix })
    await using _ = history
    await house.work(
      async (command, context) => {
        if (command.content === 'fail') throw new Error('no')
        await context.step('one', () => 1)
        await context.emitChunk('answer')
      },
      { history },
    )
    const client = house.client({ history })
    for (const sessionId of ['gone', 'kept']) {
      await client.ask({ targetAgentType: 'agent', sessionId, content: 'hello', timeoutMs: 15_000 })
      await client.ask({ targetAgentType: 'agent', sessionId, content: 'fail', timeoutMs: 15_000 })
    }
    await house.settled()
    expect(await client.getHistory('gone')).toHaveLength(3)
    expect(await client.listDeadLetters({ sessionId: 'gone' })).toHaveLength(1)

    const answer = await client.deleteSession('gone')
    expect(answer).toEqual({ success: true, tasks: 2, cancelled: 0, left: 0, history: 'CLEARED' })
    expect(await traces(house, 'gone')).toEqual([])
    expect(await client.getHistory('gone')).toEqual([])
    expect(await client.getHistory('kept')).toHaveLength(3)
    expect(await client.listTasks({ sessionId: 'kept' })).toHaveLength(2)
    expect(await client.listDeadLetters({ sessionId: 'kept' })).toHaveLength(1)
    expect(await client.deleteSession('gone')).toMatchObject({ success: true, tasks: 0 })
  })

  test('with what runs and what waits in it: nothing of it comes afterwards', async () => {
    const house = new House()
    const history = new RedisHistory({ redis: house.url, keyPrefix: house.prefix })
    await using _ = history
    const [gate, open] = [new Gate(), deferred()]
    let ends = 0
    await house.work(
      async (_command, context) => {
        await context.emitChunk('half ')
        gate.arrived += 1
        await open.promise // hears nothing of a cancel
        await context.emitChunk('late').catch(() => undefined)
        ends += 1
        return 'late'
      },
      { history, maxConcurrency: 1 },
    )
    const client = house.client({ history })
    await send(house, 'gone', 'running')
    await gate.reached(1)
    await send(house, 'gone', 'waiting')
    await send(house, 'gone', 'delayed', { delayMs: 3_600_000 })
    const answer = await client.deleteSession('gone')
    expect(answer).toEqual({ success: true, tasks: 3, cancelled: 3, left: 0, history: 'CLEARED' })
    open.resolve()
    await waitFor(() => ends === 1)
    await house.settled()
    expect(await traces(house, 'gone')).toEqual([])
    expect(await client.getHistory('gone')).toEqual([])
    expect(gate.arrived).toBe(1)
  })

  test('also where no worker is: what waits is taken off its queue', async () => {
    const house = new House()
    const client = house.client()
    // A message id names a task only together with its session.
    await send(house, 'gone', 'hello', { messageId: 'm' })
    await send(house, 'kept', 'hello', { messageId: 'm' })
    expect(await client.deleteSession('gone')).toMatchObject({ success: true, cancelled: 1, history: 'NOT_CONFIGURED' })
    expect(await traces(house, 'gone')).toEqual([])
    expect(await house.waiting()).toBe(1)
    const heard: string[] = []
    await house.work((command) => void heard.push(command.header.sessionId))
    await house.settled()
    expect(heard).toEqual(['kept'])
  })

  test('also what waits as a command of a kind that is not known here', async () => {
    const house = new House()
    await send(house, 'gone')
    const control = house.keys.control('agent')
    const [[id, fields]] = (await house.redis.xrange(control, '-', '+')) as [[string, string[]]]
    await house.redis.xdel(control, id)
    await house.redis.xadd(control, '*', ...fields.map((text) => text.replace('ASK_AGENT', 'FROM_ELSEWHERE')))
    expect(await house.client().deleteSession('gone')).toMatchObject({ success: true, tasks: 1, cancelled: 1, left: 0 })
    expect(await traces(house, 'gone')).toEqual([])
  })

  test('what a dead worker holds is scrubbed, said, and goes when it is taken over', async () => {
    const house = new House()
    const client = house.client()
    await send(house, 'gone', 'secret')
    // A worker that was handed the task and died.
    const control = house.keys.control('agent')
    await house.redis.xgroup('CREATE', control, 'agent_engines', '0', 'MKSTREAM')
    await house.redis.xreadgroup('GROUP', 'agent_engines', 'dead', 'COUNT', 1, 'STREAMS', control, '>')
    expect(await client.deleteSession('gone', { timeoutMs: 0 })).toMatchObject({ success: false, tasks: 0, left: 1 })
    let ran = false
    await house.work(
      () => {
        ran = true
      },
      { leaseMs: 1_000 },
    )
    await house.settled()
    await waitFor(async () => (await traces(house, 'gone')).length === 0)
    expect(ran).toBe(false)
  })

  test.each([
    ['lies on its stream', {}, { success: true, tasks: 1, left: 0 }],
    ['is with a worker that died', { timeoutMs: 0 }, { success: false, tasks: 0, left: 1 }],
  ])(
    'with a task that waited for an answer and has it: its message, which %s, comes back as nothing',
    async (place, options, answer) => {
      const house = new House()
      const client = house.client()
      let runs = 0
      const handle = async (_: unknown, context: AgentContext) => {
        runs += 1
        return context.askUser({ prompt: 'How many?' })
      }
      const first = await house.work(handle, { suspendAfterMs: 20 })
      const { messageId } = await send(house, 'gone')
      await waitFor(async () => (await client.getTask({ sessionId: 'gone', messageId }))?.status === 'WAITING_USER')
      await house.settled()
      await first.stop()
      const [ask] = await client.pendingAsks('gone')
      await client.reply({ sessionId: 'gone', messageId, askId: ask?.askId ?? '', content: 3 })
      expect(await house.waiting()).toBe(1)
      const control = house.keys.control('agent')
      if (place.startsWith('is with')) {
        await house.redis.xreadgroup('GROUP', 'agent_engines', 'dead', 'COUNT', 1, 'STREAMS', control, '>')
      }
      expect(await client.deleteSession('gone', options)).toMatchObject({ ...answer, cancelled: 1 })
      expect(await house.waiting()).toBe(answer.left)

      await house.work(handle, { leaseMs: 1_000 })
      await house.settled()
      await waitFor(async () => (await traces(house, 'gone')).length === 0)
      expect(await client.listDeadLetters()).toEqual([])
      expect(runs).toBe(1)
    },
  )

  test('with a task whose next attempt is due at that very moment', async () => {
    const house = new House()
    const client = house.client()
    await house.work(
      () => {
        throw new Error('no')
      },
      { retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 400 } } },
    )
    const ids = await Promise.all(Array.from({ length: 5 }, (_, index) => send(house, `gone-${index}`)))
    await waitFor(async () => {
      const tasks = await Promise.all(
        ids.map(({ messageId }, index) => client.getTask({ sessionId: `gone-${index}`, messageId })),
      )
      return tasks.every((task) => task?.status === 'RETRYING')
    })
    const answers = await Promise.all(ids.map((_, index) => client.deleteSession(`gone-${index}`)))
    expect(answers.map(({ success, cancelled }) => [success, cancelled])).toEqual(Array(5).fill([true, 1]))
    // By now what was on its way to the stream has come there.
    await pause(1_000)
    await house.settled()
    await waitFor(async () => (await traces(house, 'gone')).length === 0, { timeoutMs: 15_000 })
    expect(await client.listDeadLetters()).toEqual([])
  })

  test('and what is sent to it meanwhile is either gone with it or a task like any other', async () => {
    const house = new House()
    const sender = house.client()
    await send(house, 'gone')
    class Slow extends MemoryHistory {
      override async clear(sessionId: string): Promise<void> {
        await sender.sendMessage({ targetAgentType: 'agent', sessionId, messageId: 'late', content: 'hello' })
        return super.clear(sessionId)
      }
    }
    const client = house.client({ history: new Slow() })
    expect(await client.deleteSession('gone')).toMatchObject({ success: true, tasks: 1 })
    const index = house.keys.session('gone')
    expect([await house.redis.zscore(index, ''), await house.redis.pttl(index)]).toEqual(['-1', -1])
    expect(await client.listTasks({ sessionId: 'gone' })).toMatchObject([{ messageId: 'late', status: 'QUEUED' }])
    expect((await client.cancelSession('gone')).tasks).toMatchObject([{ messageId: 'late', status: 'CANCELLED' }])
    expect(await sender.deleteSession('gone')).toMatchObject({ success: true, tasks: 1 })
    expect(await traces(house, 'gone')).toEqual([])
  })

  test('and what is sent to it right after the cancel of the others keeps its message, and runs', async () => {
    const house = new House()
    const client = house.client()
    await send(house, 'gone')
    const ref = { sessionId: 'gone', messageId: 'late' }
    const { cancelSession } = Canceller.prototype
    vi.spyOn(Canceller.prototype, 'cancelSession').mockImplementationOnce(async function (this: Canceller, ...wish) {
      const statuses = await Reflect.apply(cancelSession, this, wish)
      await send(house, 'gone', 'hello', ref)
      return statuses
    })
    expect(await client.deleteSession('gone')).toMatchObject({ success: true, tasks: 1, cancelled: 1, left: 0 })
    await house.work(() => 'ran')
    expect(await client.result({ ...ref, timeoutMs: 15_000 })).toMatchObject({ status: 'COMPLETED', data: 'ran' })
    expect(await client.deleteSession('gone')).toMatchObject({ success: true, tasks: 1 })
    expect(await traces(house, 'gone')).toEqual([])
  })

  test('a worker forgets it in its memory', async () => {
    const house = new House()
    const history = new MemoryHistory()
    const worker = await house.work(() => 'answer', { history })
    expect(worker.history).toEqual({ status: 'UP', putBy: 0, lost: 0 })
    await house.client().ask({ targetAgentType: 'agent', sessionId: 'gone', content: 'hello', timeoutMs: 15_000 })
    expect(await history.list('gone')).toHaveLength(2)
    await house.client().deleteSession('gone')
    await waitFor(async () => (await history.list('gone')).length === 0)
  })

  test.each([
    ['sessionId', 'a b', {}],
    ['timeoutMs', 's', { timeoutMs: -1 }],
    ['colour', 's', { colour: 'red' }],
  ])('%s at fault is named', async (field, sessionId, options) => {
    const deletion = new House().client().deleteSession(sessionId, options as DeleteSessionOptions)
    await expect(deletion).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT', details: { field } })
  })
})

test('a client without the store says how to come to one', async () => {
  await expect(new House().client().getHistory('s')).rejects.toMatchObject({
    code: 'GW_NO_HISTORY',
    message: expect.stringContaining('give the client the store of its workers as `history`'),
  })
})
