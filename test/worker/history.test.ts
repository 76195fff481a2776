import { describe, expect, test } from 'vitest'
import type { HistoryMessage, HistoryPage, HistoryStore } from '../../src/agent/history.ts'
import { MemoryHistory } from '../../src/history/memory.ts'
import { RedisHistory } from '../../src/history/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { House } from './harness.ts'

const said = (messages: readonly HistoryMessage[]) => messages.map(({ role, content }) => [role, content])
const ask = (house: House, content: unknown, more = {}) =>
  house.client().ask({
    ...{ targetAgentType: 'agent', sessionId: 's', content: content as string, timeoutMs: 15_000 },
    ...more,
  })

describe('a task leaves', () => {
  test('what was asked and what was answered, with who and when', async () => {
    const house = new House()
    const history = new MemoryHistory()
    await house.work(
      async (_command, context) => {
        await context.emitChunk('Hello, ')
        await context.emitChunk('you.')
        return { tokens: 2 }
      },
      { history },
    )
    const { messageId } = await ask(house, 'hi', { metadata: { lang: 'de' } })
    const messages = await history.list('s')
    expect(messages).toMatchObject([
      { role: 'user', content: 'hi', messageId, metadata: { lang: 'de' }, fencingToken: 1 },
      { role: 'assistant', content: 'Hello, you.', messageId, metadata: { agentType: 'agent', attempt: 1 } },
    ])
    const { createdAt = 0, startedAt = 0 } = (await house.client().getTask({ sessionId: 's', messageId })) ?? {}
    expect(messages[0]?.createdAt).toBe(createdAt)
    expect(messages[1]?.createdAt).toBeGreaterThanOrEqual((startedAt ?? 0) - 1)
  })

  test.each([
    ['a text', 'plain', 'plain'],
    ['its content', { content: 'words', more: 1 }, 'words'],
    ['an object', { sky: 'clear' }, { sky: 'clear' }],
    ['a number', 42, '42'],
  ])('where nothing was streamed, the result: %s', async (_, result, content) => {
    const house = new House()
    const history = new MemoryHistory()
    await house.work(() => result, { history })
    await ask(house, { rich: ['question'] })
    expect(said(await history.list('s'))).toEqual([
      ['user', { rich: ['question'] }],
      ['assistant', content],
    ])
  })

  test('nothing, where nothing is said', async () => {
    const house = new House()
    const history = new MemoryHistory()
    await house.work(() => null, { history })
    await ask(house, 'hi')
    expect(said(await history.list('s'))).toEqual([['user', 'hi']])
  })

  test('once, however often it is tried: the text of the last attempt', async () => {
    const house = new House()
    const history = new MemoryHistory()
    const answers: HistoryMessage[] = []
    await house.work(
      async (_command, context) => {
        answers.push(...(await history.list('s')).filter(({ role }) => role === 'assistant'))
        await context.emitChunk(`attempt ${context.attempt}`)
        if (context.attempt < 3) throw new Error('not yet')
      },
      { history, retry: { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 10 } } },
    )
    await ask(house, 'hi')
    expect(said(await history.list('s'))).toEqual([
      ['user', 'hi'],
      ['assistant', 'attempt 3'],
    ])
    expect(answers).toEqual([])
  })

  test('what it had said when it failed or was cancelled, and that it did', async () => {
    const house = new House()
    const history = new MemoryHistory()
    await house.work(
      async ({ content }, context) => {
        await context.emitChunk(`half of ${content}`)
        if (content === 'fail') throw new Error('no')
        await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
      },
      { history },
    )
    await ask(house, 'fail')
    const sent = await house.client().sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'cancel' })
    const ref = { sessionId: 's', messageId: sent.messageId }
    await waitFor(async () => (await house.client().getTask(ref))?.status === 'RUNNING')
    await waitFor(async () => (await house.events('s')).some(({ message_id: id }) => id === sent.messageId))
    await house.client().cancelTask(ref)
    await house.client().result(ref)
    expect((await history.list('s')).map(({ content, metadata }) => [content, metadata.status])).toEqual([
      ['fail', undefined],
      ['half of fail', 'FAILED'],
      ['cancel', undefined],
      ['half of cancel', 'CANCELLED'],
    ])
  })

  test('its words only: what agents ask each other is not part of the talk', async () => {
    const house = new House()
    const history = new MemoryHistory()
    await house.work(({ content }) => `translated ${content}`, { capabilities: ['helper'], history })
    await house.work(
      async (_command, context) => {
        const { content } = await context.callAgent({ targetAgentType: 'helper', content: 'word' })
        return content
      },
      { history },
    )
    await ask(house, 'hi')
    expect(said(await history.list('s'))).toEqual([
      ['user', 'hi'],
      ['assistant', 'translated word'],
    ])
  })

  test('all of a long text, also what is too long to be held, and what a step said in an earlier run', async () => {
    const house = new House()
    const history = new MemoryHistory({ maxLength: 10_000_000 })
    await house.work(
      async ({ content }, context) => {
        if (content === 'long')
          for (let part = 0; part < 40; part += 1) await context.emitChunk(`${part % 10}`.repeat(10_000))
        else {
          await context.step('speak', () => context.emitChunk('in the step, '))
          await context.askUser('go on?')
          await context.emitChunk('after it')
        }
      },
      { history, suspendAfterMs: 0 },
    )
    await ask(house, 'long')
    expect(String((await history.list('s')).at(-1)?.content).length).toBe(400_000)
    const client = house.client()
    const { messageId } = await client.sendMessage({ targetAgentType: 'agent', sessionId: 't', content: 'steps' })
    const ref = { sessionId: 't', messageId }
    await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_USER')
    const [question] = await client.pendingAsks('t')
    await client.reply({ ...ref, askId: question?.askId ?? '', content: 'yes' })
    await client.result(ref)
    expect(said(await history.list('t'))).toEqual([
      ['user', 'steps'],
      ['assistant', 'in the step, after it'],
    ])
  })

  test('nothing with history: false, and then there is none to read', async () => {
    const house = new House()
    const codes: unknown[] = []
    const worker = await house.work(
      async (_command, context) => {
        codes.push(await context.getHistory().catch((error) => error.code))
      },
      { history: false },
    )
    await ask(house, 'hi')
    expect(codes).toEqual(['GW_NO_HISTORY'])
    expect(worker.history.status).toBe('OFF')
  })
})

describe('a handler reads', () => {
  test('without an argument, and its store gets a page to take apart all the same', async () => {
    const house = new House()
    const pages: unknown[] = []
    class OwnHistory extends MemoryHistory {
      override async list(sessionId: string, page?: HistoryPage) {
        pages.push(page)
        return super.list(sessionId, page)
      }
    }
    await house.work(async (_command, context) => void (await context.getHistory()), { history: new OwnHistory() })
    expect(await ask(house, 'hi')).toMatchObject({ status: 'COMPLETED' })
    expect(pages).toEqual([{}])
  })

  test('what was said before, and what it was asked itself', async () => {
    const house = new House()
    const history = new RedisHistory({ redis: house.url, keyPrefix: house.prefix })
    await using _ = history
    const seen: unknown[] = []
    await house.work(
      async ({ content }, context) => {
        const messages = await context.getHistory({ limit: 3 })
        seen.push(said(messages))
        if (content === 'two') seen.push(said(await context.getHistory({ before: messages[0]?.id ?? '', limit: 5 })))
        return `answer to ${content}`
      },
      { history },
    )
    await ask(house, 'one')
    await ask(house, 'two')
    await ask(house, 'three')
    expect(seen).toEqual([
      [['user', 'one']],
      [
        ['user', 'one'],
        ['assistant', 'answer to one'],
        ['user', 'two'],
      ],
      [],
      [
        ['user', 'two'],
        ['assistant', 'answer to two'],
        ['user', 'three'],
      ],
    ])
    expect(said(await house.client({ history }).getHistory('s', { limit: 1 }))).toEqual([
      ['assistant', 'answer to three'],
    ])
  })

  test('a page that is none fails by name', async () => {
    const house = new House()
    const faults: unknown[] = []
    await house.work(async (_command, context) => {
      faults.push(await context.getHistory({ limit: -1 }).catch(({ message }) => message))
    })
    await ask(house, 'hi')
    expect(faults).toEqual(['limit is invalid: must be a whole number from 1 to 1000 (got -1)'])
  })
})

test('is told before the end of the task', async () => {
  const house = new House()
  const [asked, told] = [deferred(), deferred()]
  const memory = new MemoryHistory()
  const history: HistoryStore = {
    append: async (sessionId, messages) => {
      if (messages[0]?.role === 'assistant') {
        asked.resolve()
        await told.promise
      }
      memory.append(sessionId, messages)
    },
    list: (...args) => memory.list(...args),
    clear: (...args) => memory.clear(...args),
    close: async () => undefined,
  }
  await house.work(() => 'answer', { history })
  const answer = ask(house, 'hi')
  await asked.promise
  expect((await house.events('s')).filter(({ event_type: type }) => type === 'done')).toEqual([])
  told.resolve()
  expect((await answer).status).toBe('COMPLETED')
})

test('is told question and answer of a task that ends at once together, of one that goes on the question first', async () => {
  const house = new House()
  const goOn = deferred()
  const memory = new MemoryHistory()
  const appends: string[][] = []
  const history: HistoryStore = {
    append: async (sessionId, messages) => {
      appends.push(messages.map(({ role }) => role))
      memory.append(sessionId, messages)
    },
    list: (...args) => memory.list(...args),
    clear: (...args) => memory.clear(...args),
    close: async () => undefined,
  }
  await house.work(({ content }) => (content === 'long' ? goOn.promise.then(() => 'answer') : 'answer'), { history })
  await ask(house, 'first') // before that, nobody knows whether the history keeps at once
  appends.length = 0
  await ask(house, 'short')
  expect(appends).toEqual([['user', 'assistant']])
  const answer = ask(house, 'long')
  await waitFor(() => appends.length === 2)
  goOn.resolve()
  await answer
  expect(appends.slice(1)).toEqual([['user'], ['assistant']])
  expect(said(await memory.list('s', { limit: 2 }))).toEqual([
    ['user', 'long'],
    ['assistant', 'answer'],
  ])
})

test.each([
  [{}, 'has no method append'],
  [null, 'has no method append'],
  [{ append: () => null, list: () => null }, 'has no method clear'],
])('what is no history is refused: %j', async (history, reason) => {
  const work = new House().work(() => null, { history: history as HistoryStore })
  await expect(work).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT', details: { field: 'history', reason } })
})
