import { expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { agendaOf, House } from './harness.ts'

const ref = { sessionId: 's', messageId: 'm' }
const send = { targetAgentType: 'agent', ...ref, content: 'hi' }
const WEEK_MS = 604_800_000

const nothingNoted = async (house: House) =>
  waitFor(async () => (await agendaOf(house)).length === 0, { message: 'the agenda to be empty' })

test.each([
  ['in memory', 30_000, 'RUNNING'],
  ['suspended', 20, 'WAITING_USER'],
])('a question that waited (%s) and has its answer leaves no deadline behind', async (_, suspendAfterMs, status) => {
  const house = new House()
  await house.work((_command, context) => context.askUser({ prompt: 'Well?', timeoutMs: WEEK_MS }), { suspendAfterMs })
  const client = house.client()
  await client.sendMessage(send)
  await waitFor(async () => (await client.getTask(ref))?.status === status)
  await waitFor(async () => (await agendaOf(house)).length === 1)
  const [question] = await client.pendingAsks('s')
  await client.reply({ ...ref, askId: question?.askId ?? '', content: 'yes' })
  expect(await client.result(ref)).toMatchObject({ data: 'yes' })
  await nothingNoted(house)
})

test.each([
  ['in memory', 30_000, 'RUNNING'],
  ['suspended', 20, 'WAITING_USER'],
])(
  'a task that is cancelled while it waits (%s) for a person, an agent and a time leaves none',
  async (_, suspendAfterMs, status) => {
    const house = new House()
    await house.work(
      async (_command, context) => {
        const call = context.callAgent({ targetAgentType: 'nobody', content: 'x', timeoutMs: WEEK_MS })
        await Promise.all([call, context.askUser({ prompt: 'Well?', timeoutMs: WEEK_MS }), context.sleep(WEEK_MS)])
      },
      { suspendAfterMs },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(ref))?.status === status)
    await waitFor(async () => (await agendaOf(house)).length === 3)
    await client.cancelTask(ref)
    expect(await client.result(ref)).toMatchObject({ status: 'CANCELLED' })
    await nothingNoted(house)
  },
)

test('tasks that have started in time leave no expiry, however quickly they end', async () => {
  const house = new House()
  await house.work(() => 'fine')
  const client = house.client()
  const asks = Array.from({ length: 300 }, (_, index) =>
    client.ask({ targetAgentType: 'agent', sessionId: `s-${index % 7}`, content: 'x', expiresInMs: WEEK_MS }),
  )
  expect(new Set((await Promise.all(asks)).map(({ status }) => status))).toEqual(new Set(['COMPLETED']))
  await client.ask({ ...send, expiresInMs: WEEK_MS })
  await nothingNoted(house)
})

test('a failed attempt leaves its deadline to the next', async () => {
  const house = new House()
  const retry = { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 1 } } as const
  await house.work(
    async (_command, context) => {
      const answer = context.askUser({ prompt: 'Well?', timeoutMs: 700 }).catch((error) => error.code)
      if (context.attempt < 3) {
        await waitFor(async () => (await agendaOf(house)).some((member) => member.startsWith('answer ')))
        throw new Error('boom')
      }
      return answer
    },
    { retry },
  )
  const client = house.client()
  await client.sendMessage(send)
  expect(await client.result({ ...ref, timeoutMs: 10_000 })).toMatchObject({ status: 'COMPLETED', data: 'GW_TIMEOUT' })
  await nothingNoted(house)
})

test('a deadline stays noted while its task waits for another attempt', async () => {
  const house = new House()
  const isNoted = async () => (await agendaOf(house)).some((member) => member.startsWith('answer '))
  await house.work(
    async (_command, context) => {
      if (context.attempt > 1) return isNoted()
      context.askUser({ prompt: 'Well?', timeoutMs: WEEK_MS }).catch(() => undefined)
      await waitFor(isNoted)
      throw new Error('boom')
    },
    { retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 500 } } },
  )
  expect(await house.client().ask({ ...send, timeoutMs: 15_000 })).toMatchObject({ status: 'COMPLETED', data: true })
})

test('an attempt that is broken off leaves its deadline to whoever goes on', async () => {
  const house = new House()
  const worker = await house.work(async (_command, context) => {
    context.askUser({ prompt: 'Well?', timeoutMs: WEEK_MS }).catch(() => undefined)
    await context.step('long', () => new Promise(() => undefined))
  })
  await house.client().sendMessage(send)
  await waitFor(async () => (await agendaOf(house)).length === 1)
  await worker.stop()
  expect(await agendaOf(house)).toEqual([expect.stringMatching(/^answer /)])
})

test.each([
  ['leaves none, though another attempt was to follow', 2],
  ['leaves none, nor a dead letter, though it was the last', 1],
])('a task that is cancelled while its attempt fails %s', async (_, maxAttempts) => {
  const house = new House()
  const { redis, keys } = house
  const cancel = JSON.stringify({ reason: 'enough', requestedBy: 'somebody' })
  await house.work(
    async (_command, context) => {
      context.sleep(WEEK_MS).catch(() => undefined)
      await waitFor(async () => (await agendaOf(house)).length === 2)
      // As a cancel whose wake-up is still on its way.
      await redis.hset(keys.task('s', 'm'), 'cancel', cancel)
      throw new Error('boom')
    },
    { retry: { maxAttempts, backoff: { type: 'fixed', delayMs: 600_000 } } },
  )
  const client = house.client()
  await client.sendMessage({ ...send, expiresInMs: WEEK_MS })
  expect(await client.result(ref)).toMatchObject({ status: 'CANCELLED' })
  await nothingNoted(house)
  await house.settled()
  expect(await redis.exists(keys.dead('agent'))).toBe(0)
})
