import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { AgentContext } from '../../../src/agent/context.ts'
import type { PendingAsk } from '../../../src/dispatch/asks.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { House } from '../harness.ts'
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

describe('askUser', () => {
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

  test('with a JSON Schema of one’s own', async () => {
    const { client, question } = await asking((context) =>
      context.askUser({ prompt: 'Name?', schema: { type: 'string', minLength: 3 } }),
    )
    const { askId } = question
    expect(await client.reply({ ...ref, askId, content: 'Al' })).toMatchObject({ status: 'INVALID' })
    expect(await client.reply({ ...ref, askId, content: 'Alice' })).toMatchObject({ status: 'ACCEPTED' })
    expect((await client.result(ref)).data).toBe('Alice')
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
  ])('refuses a bad %s', async (field, question) => {
    const house = new House()
    await house.work((_, context) => context.askUser(question as never), { retry: { maxAttempts: 1 } })
    const { error } = await house.client().ask(send)
    expect(error).toMatchObject({ code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining(field) })
  })
})
