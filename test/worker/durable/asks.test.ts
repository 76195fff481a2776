import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import type { AgentContext } from '../../../src/agent/context.ts'
import { foldEvents, taskIn } from '../../../src/client/fold.ts'
import type { PendingAsk } from '../../../src/dispatch/asks.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { collect, Gate, House } from '../harness.ts'
import { rawEvents } from './crew.ts'

const ref = { sessionId: 's', messageId: 'm' }
const send = { targetAgentType: 'agent', ...ref, content: 'hi' }

/** A house whose agent asks, and the question when it waits for its answer. */
async function asking(
  ask: (context: AgentContext) => Promise<unknown>,
  options: { suspendAfterMs?: number } = {},
): Promise<{ house: House; client: ReturnType<House['client']>; question: PendingAsk }> {
  const house = new House()
  await house.work((_, context) => ask(context), { retry: { maxAttempts: 1 }, ...options })
  const client = house.client()
  await client.sendMessage(send)
  await waitFor(async () => (await client.pendingAsks('s')).length === 1)
  const [question] = (await client.pendingAsks('s')) as [PendingAsk]
  return { house, client, question }
}

/** Answers the one question there is, and sees the task end with that. */
async function sayYes(client: ReturnType<House['client']>): Promise<void> {
  const [question] = await client.pendingAsks('s')
  await client.reply({ ...ref, askId: question?.askId ?? '', content: 'yes' })
  expect((await client.result({ ...ref, timeoutMs: 10_000 })).data).toBe('yes')
}

describe('askUser', () => {
  test('offers the options of the moment in which it was called', async () => {
    const { client, question } = await asking(async (context) => {
      const options = ['yes', 'no']
      void context.emitChunk('Well. ')
      const answer = context.askUser({ prompt: 'Sure?', options })
      options.shift()
      return answer
    })
    expect(question.options).toEqual(['yes', 'no'])
    await sayYes(client)
  })

  test.each([
    ['in memory', 30_000, 'RUNNING'],
    ['suspended', 20, 'WAITING_USER'],
  ])('waits (%s) for the answer of client.reply and resolves with it', async (_, suspendAfterMs, status) => {
    const { house, client, question } = await asking(
      async (context) => {
        await context.emitChunk('Well. ')
        const answer = await context.askUser({ prompt: 'How many?', schema: z.object({ n: z.number().int() }) })
        return { answer }
      },
      { suspendAfterMs },
    )
    await waitFor(async () => (await client.getTask(ref))?.status === status)
    expect(question).toMatchObject({ ...ref, prompt: 'How many?', askId: expect.stringMatching(/^ask-[\da-f]{24}$/) })
    expect(question.schema).toMatchObject({ type: 'object', required: ['n'] })
    const { askId } = question
    expect(await client.reply({ ...ref, askId, content: { n: 'three' } })).toEqual({
      ...{ success: false, status: 'INVALID', reason: expect.stringContaining('n: ') },
    })
    expect(await client.reply({ ...ref, askId, content: { n: 3 } })).toEqual({ success: true, status: 'ACCEPTED' })
    expect((await client.result(ref)).data).toEqual({ answer: { n: 3 } })
    expect(await client.reply({ ...ref, askId, content: { n: 4 } })).toEqual({ success: false, status: 'CLOSED' })
    expect(await client.pendingAsks('s')).toEqual([])
    // Asked once, after what was said before, however often the handler ran.
    const types = (await rawEvents(house, 's')).map(({ event_type: type }) => type)
    expect(types).toEqual(['chunk', 'ask_user', 'done'])
    const [, asked] = await rawEvents(house, 's')
    expect(asked?.data).toMatchObject({ ask_id: askId, prompt: 'How many?', schema: { type: 'object' } })
    expect(await client.reply({ ...ref, askId: 'ask-x', content: 1 })).toMatchObject({ status: 'CLOSED' })
    expect(await client.reply({ ...ref, messageId: 'other', askId, content: 1 })).toMatchObject({ status: 'NOT_FOUND' })
    await expect(client.reply({ ...ref, askId: '', content: 1 })).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
    const lost = client.reply({ ...ref, askId, content: Number.NaN })
    await expect(lost).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
    await expect(lost).rejects.toThrow(/^content is invalid: must be something that JSON can/)
  })

  test('the first answer stays, replies at the same time included', async () => {
    const { client, question } = await asking(async (context) => {
      const first = await context.askUser('One?')
      return [first, await context.askUser('Two?')]
    })
    const { askId } = question
    const replies = await Promise.all(['a', 'b', 'c'].map((content) => client.reply({ ...ref, askId, content })))
    expect(replies.map(({ status }) => status).sort()).toEqual(['ACCEPTED', 'ALREADY_ANSWERED', 'ALREADY_ANSWERED'])
    await waitFor(async () => (await client.pendingAsks('s'))[0]?.prompt === 'Two?')
    expect(await client.reply({ ...ref, askId, content: 'd' })).toMatchObject({ status: 'ALREADY_ANSWERED' })
    expect(await client.reply({ ...ref, askId: 'ask-x', content: 'd' })).toMatchObject({ status: 'NOT_FOUND' })
    const [second] = await client.pendingAsks('s')
    await client.reply({ ...ref, askId: second?.askId ?? '', content: null })
    const accepted = ['a', 'b', 'c'][replies.findIndex(({ success }) => success)]
    expect((await client.result(ref)).data).toEqual([accepted, null])
  })

  test('refuses what JSON cannot carry, whether it is answered or not', async () => {
    const { client, question } = await asking((context) => context.askUser('How many?'))
    const reply = (content: unknown) => client.reply({ ...ref, askId: question.askId, content })
    const circle = { me: {} }
    circle.me = circle
    const wrong = [5n, circle, () => 1, Symbol('x'), undefined]
    const refused = { code: 'GW_INVALID_ARGUMENT', details: { field: 'content' } }
    for (const content of wrong) await expect(reply(content)).rejects.toMatchObject(refused)
    expect(await reply(1)).toMatchObject({ status: 'ACCEPTED' })
    for (const content of wrong) await expect(reply(content)).rejects.toMatchObject(refused)
    expect((await client.result(ref)).data).toBe(1)
  })

  test('with a schema and options takes what fits both', async () => {
    const { client, question } = await asking((context) =>
      context.askUser({ prompt: 'Which?', schema: z.string().min(4), options: ['red', 'blue'] }),
    )
    const reply = (content: unknown) => client.reply({ ...ref, askId: question.askId, content })
    expect(await reply('green')).toMatchObject({ status: 'INVALID', reason: 'must be one of "red", "blue"' })
    expect(await reply('red')).toMatchObject({ status: 'INVALID', reason: expect.stringContaining('4') })
    expect(await reply('blue')).toMatchObject({ status: 'ACCEPTED' })
    expect((await client.result(ref)).data).toBe('blue')
  })

  test('with options only takes one of them', async () => {
    const { client, question } = await asking((context) =>
      context.askUser({ prompt: 'Which?', options: ['red', { value: 2, label: 'blue' }] }),
    )
    const { askId } = question
    expect(question.options).toEqual(['red', { value: 2, label: 'blue' }])
    expect(await client.reply({ ...ref, askId, content: 'green' })).toMatchObject({
      ...{ status: 'INVALID', reason: 'must be one of "red", 2' },
    })
    expect(await client.reply({ ...ref, askId, content: 2 })).toMatchObject({ status: 'ACCEPTED' })
    expect((await client.result(ref)).data).toBe(2)
  })

  test('with options that are objects takes one of them in whatever order its members come', async () => {
    const rooms = [{ value: { hotel: 'Aurora', floors: [1, 2] } }, { value: { hotel: 'Borealis', floors: [1] } }]
    const { client, question } = await asking((context) => context.askUser({ prompt: 'Which?', options: rooms }))
    const reply = (content: unknown) => client.reply({ ...ref, askId: question.askId, content })
    expect(await reply({ floors: [2, 1], hotel: 'Aurora' })).toMatchObject({
      ...{ status: 'INVALID', reason: `must be one of ${rooms.map(({ value }) => JSON.stringify(value)).join(', ')}` },
    })
    expect(await reply({ floors: [1], hotel: 'Borealis' })).toMatchObject({ status: 'ACCEPTED' })
    expect((await client.result(ref)).data).toEqual({ hotel: 'Borealis', floors: [1] })
  })

  test('with a schema that checks more than its JSON form says fails where it does not fit, and says so once', async () => {
    const schema = z.string().refine((text) => text !== 'no', 'not that')
    const { client, question } = await asking((context) => context.askUser({ prompt: 'Well?', schema }))
    await client.reply({ ...ref, askId: question.askId, content: 'no' })
    const { error } = await client.result(ref)
    expect(error?.message).toBe('the person\'s answer is invalid: not that (got "no")')
  })

  test('with a JSON Schema of one’s own', async () => {
    const { client, question } = await asking((context) =>
      context.askUser({ prompt: 'Name?', schema: { type: 'string', minLength: 3 } }),
    )
    const { askId } = question
    expect(await client.reply({ ...ref, askId, content: 'Al' })).toMatchObject({ status: 'INVALID' })
    expect(await client.reply({ ...ref, askId, content: 'Alice' })).toMatchObject({ status: 'ACCEPTED' })
    expect((await client.result(ref)).data).toBe('Alice')
  })

  test('with a JSON Schema that nobody understands: the log says that replies are not checked', async () => {
    const { house, client, question } = await asking((context) =>
      context.askUser({ prompt: 'Name?', schema: { type: 'strnig' } }),
    )
    expect(await client.reply({ ...ref, askId: question.askId, content: 7 })).toMatchObject({ status: 'ACCEPTED' })
    expect((await client.result(ref)).data).toBe(7)
    expect(house.logger.lines.filter(({ message }) => message.startsWith('replies to a question'))).toMatchObject([
      { fields: { prompt: 'Name?', reason: expect.stringContaining('strnig') } },
    ])
  })

  test('gives up in time, also when suspended; an answer after that is too late', async () => {
    const { client, question } = await asking(
      async (context) => {
        const late = await context.askUser({ prompt: 'Quick!', timeoutMs: 300 }).catch((error) => error.code)
        return [late, await context.askUser('And now?')]
      },
      { suspendAfterMs: 20 },
    )
    const { askId } = question
    await waitFor(async () => (await client.pendingAsks('s'))[0]?.prompt === 'And now?')
    expect(await client.reply({ ...ref, askId, content: 1 })).toMatchObject({ success: false, status: 'CLOSED' })
    const [second] = await client.pendingAsks('s')
    await client.reply({ ...ref, askId: second?.askId ?? '', content: 'yes' })
    expect((await client.result(ref)).data).toEqual(['GW_TIMEOUT', 'yes'])
  })

  test('ends with its task', async () => {
    const { client, question } = await asking((context) => context.askUser('Still there?'), { suspendAfterMs: 20 })
    expect((await client.cancelTask(ref)).success).toBe(true)
    expect((await client.result(ref)).status).toBe('CANCELLED')
    expect(await client.reply({ ...ref, askId: question.askId, content: 1 })).toMatchObject({ status: 'CLOSED' })
    expect(await client.pendingAsks('s')).toEqual([])
  })

  test.each([
    ['prompt', ''],
    ['prompt', { prompt: 1 }],
    ['options', { prompt: 'x', options: [] }],
    ['schema', { prompt: 'x', schema: 'text' }],
    ['timeoutMs', { prompt: 'x', timeoutMs: 0 }],
    ['timeoutMs', { prompt: 'x', timeoutMs: '1000' }],
  ])('refuses a bad %s', async (field, question) => {
    const house = new House()
    await house.work((_, context) => context.askUser(question as never), { retry: { maxAttempts: 1 } })
    const { error } = await house.client().ask(send)
    expect(error).toMatchObject({ code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining(field) })
  })

  test.each([
    ['words', { prompt: 'x'.repeat(1_048_577) }],
    ['options', { prompt: 'Which?', options: ['x'.repeat(1_048_577)] }],
  ])('of which the %s are beyond the limit is refused, and nobody is asked', async (_, question) => {
    const house = new House()
    await house.work((_, context) => context.askUser(question))
    const { error } = await house.client().ask(send)
    expect(error).toMatchObject({ code: 'GW_PAYLOAD_TOO_LARGE', message: expect.stringContaining('the question') })
    expect((await rawEvents(house, 's')).map(({ event_type: type }) => type)).toEqual(['error', 'done'])
  })
})

describe('a question that waits for its answer', () => {
  type Handler = (context: AgentContext, hold: () => Promise<void>) => Promise<unknown>
  const handlers: Record<string, Handler> = {
    'is taken back with the step in which it was asked': (context, hold) =>
      context.step('step', async () => {
        await context.emitChunk('Well: ')
        const answer = context.askUser('Well?')
        await hold()
        return answer
      }),
    'is taken back with a step that began before it': async (context, hold) => {
      const step = context.step('step', async () => {
        await context.emitChunk('half ')
        await hold()
      })
      if (context.workerId === 'w-1') await waitFor(() => said.includes('half '))
      const answer = await context.askUser('Well?')
      await step
      return answer
    },
    'is taken back with a step to which the next run comes later': async (context, hold) => {
      const step = async () => {
        await context.step('first', () => null)
        await context.step('second', async () => {
          await context.emitChunk('half ')
          await hold()
        })
      }
      const steps = step()
      if (context.workerId === 'w-1') await waitFor(() => said.includes('half '))
      const answer = await context.askUser('Well?')
      await steps
      return answer
    },
    'is taken back with words that another run says otherwise': async (context, hold) => {
      const answer = context.askUser('Well?')
      await waitFor(async () => asked > 0)
      await context.emitChunk(`I am ${context.workerId}. `)
      await context.step('step', hold)
      return answer
    },
  }
  let said = ''
  let asked = 0

  test.each(Object.keys(handlers))('and %s is put again, once', async (name) => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    const fold = async () => {
      const events = await collect(client.subscribe('s', { messageId: 'm', follow: false }))
      const view = taskIn(foldEvents(events), 'm')
      asked = events.filter(({ type }) => type === 'ask_user').length
      said = view?.text ?? ''
      return { view, rewinds: events.filter(({ type }) => type === 'rewind').length }
    }
    const look = setInterval(() => void fold(), 20)
    onTestFinished(() => clearInterval(look))
    ;[said, asked] = ['', 0]
    const handle = (_: unknown, context: AgentContext) =>
      handlers[name]?.(context, () => (context.workerId === 'w-1' ? gate.pass() : Promise.resolve()))
    const first = await house.work(handle, { workerId: 'w-1' })
    await client.sendMessage(send)
    await gate.reached(1)
    await waitFor(async () => (await client.pendingAsks('s')).length === 1)
    await first.stop()
    await house.work(handle, { workerId: 'w-2' })
    await waitFor(async () => {
      const { view, rewinds } = await fold()
      return rewinds === 1 && view?.asks.length === 1
    })
    const [question] = await client.pendingAsks('s')
    expect((await fold()).view?.asks.map(({ askId }) => askId)).toEqual([question?.askId])
    await client.reply({ ...ref, askId: question?.askId ?? '', content: 'yes' })
    expect((await client.result({ ...ref, timeoutMs: 10_000 })).data).toBe('yes')
    expect((await fold()).view?.asks).toHaveLength(1)
  })

  test('and was asked by an attempt that failed is put again by the next, once', async () => {
    const house = new House()
    const client = house.client()
    await house.work(
      async (_, context) => {
        await context.emitChunk('Well: ')
        const answer = context.askUser('Well?')
        if (context.attempt > 1) return answer
        await waitFor(async () => (await client.pendingAsks('s')).length === 1)
        throw new Error('again')
      },
      { retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 10 } } },
    )
    await client.sendMessage(send)
    const view = async () =>
      taskIn(foldEvents(await collect(client.subscribe('s', { messageId: 'm', follow: false }))), 'm')
    await waitFor(async () => {
      const task = await view()
      return task?.attempt === 2 && task.status === 'WAITING_USER'
    })
    expect(await view()).toMatchObject({ text: 'Well: ', asks: [{ prompt: 'Well?' }] })
    await sayYes(client)
    expect((await view())?.asks).toHaveLength(1)
  })

  test('and was not taken back is not put again', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    const handle = async (_: unknown, context: AgentContext) => {
      await context.emitChunk('Well: ')
      const answer = context.askUser('Well?')
      await context.step('step', () => (context.workerId === 'w-1' ? gate.pass() : null))
      return answer
    }
    const first = await house.work(handle, { workerId: 'w-1' })
    await client.sendMessage(send)
    await gate.reached(1)
    await waitFor(async () => (await client.pendingAsks('s')).length === 1)
    await first.stop()
    await house.work(handle, { workerId: 'w-2' })
    await waitFor(async () => (await client.getTask(ref))?.workerId === 'w-2')
    await sayYes(client)
    const types = (await rawEvents(house, 's')).map(({ event_type: type }) => type)
    expect(types).toEqual(['chunk', 'ask_user', 'done'])
    gate.open()
  })
})

test('a question is found and answered without what else the task has recorded', async () => {
  const house = await House.private()
  await house.work(async (_, context) => {
    for (let part = 0; part < 50; part++) await context.step(`part/ask:#${part}`, () => 'x'.repeat(20_000))
    return context.askUser('Go on?')
  })
  const client = house.client()
  await client.sendMessage(send)
  await waitFor(async () => (await client.pendingAsks('s')).length === 1)
  const sent = async () =>
    Number(/total_net_output_bytes:(\d+)/.exec(await house.redis.info('stats'))?.[1] ?? Number.NaN)
  const before = await sent()
  const [question] = await client.pendingAsks('s')
  const { askId } = question as PendingAsk
  expect(await client.reply({ ...ref, askId, content: 'yes' })).toMatchObject({ status: 'ACCEPTED' })
  expect((await client.result(ref)).data).toBe('yes')
  expect((await sent()) - before).toBeLessThan(200_000)
})
