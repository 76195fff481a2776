import { afterEach, describe, expect, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import type { GatewayClient } from '../../src/client/client.ts'
import type { SendMessageRequest } from '../../src/client/request.ts'
import type { AskAgentCommand } from '../../src/protocol/command.ts'
import { RedisClient, type ScriptName } from '../../src/redis/client.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { rawEvents } from '../worker/durable/crew.ts'
import { agendaOf, House } from '../worker/harness.ts'

const { script } = RedisClient.prototype
afterEach(() => {
  RedisClient.prototype.script = script
})

/** What hands something out once is made up for by other means when its answer gets lost. */
const HANDED_OUT: readonly ScriptName[] = ['take', 'beginNewest', 'reclaim', 'agendaTake']

/** Lets each other script be carried out twice, and the second answer be heard: so it is when the first gets lost on its way. */
function sayTwice(): void {
  RedisClient.prototype.script = async function <Reply>(this: RedisClient, ...call: Parameters<typeof script>) {
    if (!HANDED_OUT.includes(call[0])) await Reflect.apply(script, this, call)
    return Reflect.apply(script, this, call) as Promise<Reply>
  }
}

/** The tasks and sessions of a house that leave something for ever. */
async function kept({ redis, prefix }: House): Promise<string[]> {
  const keys = await redis.keys(`${prefix}:*{*`)
  const ttls = await Promise.all(keys.map((key) => redis.pttl(key)))
  return keys.filter((_, index) => ttls[index] === -1)
}

async function expectNothingKept(house: House): Promise<void> {
  await waitFor(async () => (await agendaOf(house)).length === 0, { message: 'the agenda to be empty' })
  expect(await kept(house)).toEqual([])
}

const statusOf = async (client: GatewayClient, sessionId: string) =>
  (await client.getTask({ sessionId, messageId: 'm' }))?.status

describe.each(['graceful', 'force'] as const)('each script being carried out twice, a cancel (%s)', (mode) => {
  test('of what nobody has begun leaves nothing', async () => {
    const house = new House()
    sayTwice()
    const client = house.client()
    const ways: Record<string, Partial<SendMessageRequest>> = {
      ...{ plain: {}, urgent: { priority: 'high' }, expiring: { expiresInMs: 60_000 } },
      ...{ delayed: { delayMs: 60_000 }, 'delayed, expiring': { delayMs: 30_000, expiresInMs: 60_000 } },
      ...{ 'for one': { targetWorkerId: 'w' }, 'for one, delayed': { targetWorkerId: 'w', delayMs: 60_000 } },
    }
    for (const [sessionId, way] of Object.entries(ways)) {
      const ref = { sessionId: sessionId.replaceAll(/\W/g, '-'), messageId: 'm' }
      await client.sendMessage({ ...ref, targetAgentType: 'nobody', content: 'x', ...way })
      expect([sessionId, (await client.cancelTask({ ...ref, mode })).status]).toEqual([sessionId, 'CANCELLED'])
    }
    await expectNothingKept(house)
    expect(await house.redis.keys(`${house.prefix}:ctrl:nobody*`)).toEqual([])
  })

  test('of what rests between two runs leaves nothing', async () => {
    const house = new House()
    const retry = { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 60_000 } } as const
    const handle = async ({ content }: AskAgentCommand, context: AgentContext) => {
      await context.emitChunk('said')
      if (content === 'RETRYING') throw new Error('not yet')
      if (content === 'WAITING_USER') return context.askUser('well?')
      return context.sleep(60_000)
    }
    await house.work(handle, { suspendAfterMs: 20, retry })
    sayTwice()
    const client = house.client()
    for (const sessionId of ['RETRYING', 'WAITING_USER', 'WAITING_AGENT']) {
      const ref = { sessionId, messageId: 'm' }
      await client.sendMessage({ ...ref, targetAgentType: 'agent', content: sessionId })
      await waitFor(async () => !['QUEUED', 'RUNNING'].includes(String(await statusOf(client, sessionId))))
      expect([sessionId, (await client.cancelTask({ ...ref, mode })).status]).toEqual([sessionId, 'CANCELLED'])
      expect(await house.dones(sessionId, 'm')).toHaveLength(1)
    }
    await house.settled()
    await expectNothingKept(house)
  })
})

test('each script being carried out twice, what is sent on behalf of a cancelled task has its end at once, and leaves nothing', async () => {
  const house = new House()
  const client = house.client()
  const send = { sessionId: 's', targetAgentType: 'nobody', content: 'x' }
  await client.sendMessage({ ...send, messageId: 'above' })
  await client.cancelTask({ sessionId: 's', messageId: 'above' })
  sayTwice()
  const ways = { plain: {}, delayed: { delayMs: 60_000 }, expiring: { expiresInMs: 60_000 } }
  for (const [messageId, way] of Object.entries(ways)) {
    await client.sendMessage({ ...send, ...way, messageId, parentMessageId: 'above' })
    const task = await client.getTask({ sessionId: 's', messageId })
    expect([messageId, task?.status]).toEqual([messageId, 'CANCELLED'])
    expect(await house.dones('s', messageId)).toHaveLength(1)
  }
  expect(await house.redis.keys(`${house.prefix}:ctrl:nobody*`)).toEqual([])
  expect((await kept(house)).filter((key) => !key.includes(':delayed'))).toEqual([])
})

test('each script being carried out twice, tasks of all kinds come to their ends, once, and leave nothing', async () => {
  const house = new House()
  sayTwice()
  const client = house.client()
  const call = (content: string) => ({ targetAgentType: 'agent', content })
  const handlers: Record<string, (context: AgentContext) => unknown> = {
    step: (context) => context.step('once', () => 'stepped'),
    flaky: ({ attempt }) => (attempt < 3 ? Promise.reject(new Error('not yet')) : 'done'),
    sleep: (context) => context.sleep(150),
    ask: (context) => context.askUser('well?'),
    group: async (context) => (await context.dispatchGroup([call('one'), call('step')])).map(({ status }) => status),
    parent: async (context) => (await context.callAgent(call('step'))).data,
    late: (context) => context.callAgent({ ...call('ask'), timeoutMs: 100 }).catch(({ status }) => status),
  }
  const handle = async ({ content }: AskAgentCommand, context: AgentContext) => {
    await context.emitChunk('said')
    return handlers[String(content)]?.(context) ?? content
  }
  const retry = { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 20 } } as const
  await house.work(handle, { workerId: 'w', suspendAfterMs: 20, retry })
  const expired = { a: { expiresInMs: 20 }, b: { expiresInMs: 20, delayMs: 60_000 } }
  for (const [sessionId, way] of Object.entries(expired))
    await client.sendMessage({ sessionId, messageId: 'm', ...way, ...call('x'), targetAgentType: 'nobody' })
  const ways = { delayed: { delayMs: 50 }, lane: { targetWorkerId: 'w' }, urgent: { priority: 'high' } } as const
  const sessions = [...Object.keys(handlers), ...Object.keys(ways)]
  for (const sessionId of sessions) {
    const way = ways[sessionId as keyof typeof ways]
    await client.sendMessage({ sessionId, messageId: 'm', ...call(sessionId), ...way })
  }
  const [asked] = await waitFor(async () => {
    const asks = await client.pendingAsks('ask')
    return asks.length > 0 && asks
  })
  await client.reply({ sessionId: 'ask', messageId: 'm', askId: String(asked?.askId), content: 'yes' })
  const results = await Promise.all(
    sessions.map(async (sessionId) => {
      const { status, data } = await client.result({ sessionId, messageId: 'm' })
      return [sessionId, status, data, (await house.dones(sessionId, 'm')).length]
    }),
  )
  const group = ['COMPLETED', 'COMPLETED']
  const answers = { step: 'stepped', flaky: 'done', sleep: null, ask: 'yes', group, parent: 'stepped', late: 'TIMEOUT' }
  const data: Record<string, unknown> = { ...answers, delayed: 'delayed', lane: 'lane', urgent: 'urgent' }
  expect(results).toEqual(sessions.map((id) => [id, 'COMPLETED', data[id], 1]))
  for (const sessionId of Object.keys(expired))
    expect(await client.result({ sessionId, messageId: 'm' })).toMatchObject({ status: 'EXPIRED' })
  await house.settled()
  await waitFor(async () => (await kept(house)).every((key) => key.includes(':own:')))
  expect(await agendaOf(house)).toEqual([])
})

test('each script being carried out twice, who answers first is told that it was accepted, and nobody else', async () => {
  const house = new House()
  const client = house.client()
  const ref = { sessionId: 's', messageId: 'm' }
  const large = 'x'.repeat(50_000)
  const handle = async (_: AskAgentCommand, context: AgentContext) => {
    const one = await context.askUser('one?')
    return [one, await context.askUser('two?'), await context.askUser('three?')]
  }
  await house.work(handle, { suspendAfterMs: 20 })
  await client.sendMessage({ ...ref, targetAgentType: 'agent', content: 'x' })
  const question = (prompt: string) =>
    waitFor(async () => (await client.pendingAsks('s')).find((ask) => ask.prompt === prompt)?.askId)
  sayTwice()
  for (const [prompt, content] of Object.entries({ 'one?': 'yes', 'two?': large })) {
    const reply = { ...ref, askId: await question(prompt), content }
    const replies = await Promise.all([client.reply(reply), house.client().reply(reply)])
    expect(replies.map(({ status }) => status).sort()).toEqual(['ACCEPTED', 'ALREADY_ANSWERED'])
    await question(prompt === 'one?' ? 'two?' : 'three?')
    expect(await client.reply(reply)).toEqual({ success: false, status: 'ALREADY_ANSWERED' })
  }
  await client.reply({ ...ref, askId: await question('three?'), content: 3 })
  expect((await client.result(ref)).data).toEqual(['yes', large, 3])
})

test('each script being carried out twice, a question that was taken back is put again once', async () => {
  const house = new House()
  sayTwice()
  const client = house.client()
  const ref = { sessionId: 's', messageId: 'm' }
  const isAsked = (times: number) =>
    waitFor(async () => (await typesIn(house)).filter((type) => type === 'ask_user').length >= times)
  const handle = async (_: AskAgentCommand, context: AgentContext) => {
    await context.emitChunk('said')
    const answer = context.askUser('well?')
    if (context.attempt === 3) return answer
    await isAsked(context.attempt)
    throw new Error('not yet')
  }
  await house.work(handle, { retry: { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 10 } } })
  await client.sendMessage({ ...ref, targetAgentType: 'agent', content: 'x' })
  await waitFor(async () => (await client.getTask(ref))?.attempt === 3)
  await isAsked(3)
  const [asked] = await client.pendingAsks('s')
  await client.reply({ ...ref, askId: String(asked?.askId), content: 'yes' })
  expect(await client.result(ref)).toMatchObject({ status: 'COMPLETED', data: 'yes' })
  const failed = ['chunk', 'ask_user', 'error', 'rewind']
  expect(await typesIn(house)).toEqual([...failed, ...failed, 'chunk', 'ask_user', 'done'])
})

async function typesIn(house: House): Promise<string[]> {
  return (await rawEvents(house, 's')).map(({ event_type: type }) => String(type))
}
