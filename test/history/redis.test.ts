import { expect, onTestFinished, test } from 'vitest'
import { RedisHistory, type RedisHistoryOptions } from '../../src/history/redis.ts'
import { freshPrefix, testRedisUrl } from '../support/redis.ts'
import { House } from '../worker/harness.ts'
import { freshSession, historyContract } from './contract.ts'

function open(options: RedisHistoryOptions = {}): RedisHistory {
  const history = new RedisHistory({ redis: testRedisUrl(), keyPrefix: freshPrefix(), ...options })
  onTestFinished(() => history.close())
  return history
}

historyContract(async () => open())

test('keeps so many messages of a session, and forgets of the others what it knew', async () => {
  const house = new House()
  const history = open({ keyPrefix: house.prefix, maxMessages: 3 })
  for (const id of ['a', 'b', 'c', 'd', 'e']) {
    await history.append('s', [
      { role: 'user', messageId: id, content: id, fencingToken: 4 },
      { role: 'assistant', messageId: id, content: id.toUpperCase(), fencingToken: 4 },
    ])
  }
  expect((await history.list('s')).map(({ content }) => content)).toEqual(['D', 'e', 'E'])
  const { messages } = house.keys.history('s')
  expect((await house.redis.hkeys(messages)).sort()).toEqual(
    ['#10', '#8', '#9', '=assistant d', '=assistant e', '=user e', '^d', '^e', 'n'].sort(),
  )
})

test('goes a time after the last message', async () => {
  const house = new House()
  const history = open({ keyPrefix: house.prefix, ttlMs: 60_000 })
  const keys = Object.values(house.keys.history('s'))
  await history.append('s', [{ role: 'user', content: 'x' }])
  for (const key of keys) await house.redis.pexpire(key, 10_000) // most of the time has passed
  await history.append('s', [{ role: 'user', content: 'y' }])
  for (const key of keys) {
    const ttl = await house.redis.pttl(key)
    expect(ttl).toBeGreaterThan(30_000)
    expect(ttl).toBeLessThanOrEqual(60_000)
  }
})

test('carries many sessions at once, and many messages', async () => {
  const history = open()
  const sessions = Array.from({ length: 300 }, freshSession)
  await Promise.all(sessions.map((session) => history.append(session, [{ role: 'user', content: session }])))
  for (const session of [sessions[0], sessions[299]]) {
    expect(await history.list(session as string)).toMatchObject([{ content: session }])
  }
  await history.append(
    'many',
    Array.from({ length: 700 }, (_, index) => ({ role: 'user', content: `${index}` }) as const),
  )
  const page = await history.list('many', { limit: 1_000 })
  expect([page.length, page[0]?.content, page.at(-1)?.content]).toEqual([700, '0', '699'])
})

test.each(['order', 'messages'] as const)(
  'a key of another kind harms its own session alone, and what came with it is kept once: %s',
  async (part) => {
    const house = new House()
    const history = open({ keyPrefix: house.prefix })
    await house.redis.set(house.keys.history('bad')[part], 'of somebody else')
    const append = (session: string) => history.append(session, [{ role: 'user', content: session }])
    const outcomes = await Promise.allSettled(['a', 'bad', 'b'].map(append))
    expect(outcomes).toMatchObject([
      { status: 'fulfilled' },
      {
        status: 'rejected',
        reason: {
          ...{ code: 'GW_INVALID_ARGUMENT', details: { field: 'sessionId', value: 'bad' } },
          message: expect.stringContaining(house.keys.history('bad')[part]),
        },
      },
      { status: 'fulfilled' },
    ])
    for (const session of ['a', 'b']) expect(await history.list(session)).toMatchObject([{ content: session }])
  },
)

test('nor does it take the history of a worker down', async () => {
  const house = new House()
  const history = open({ keyPrefix: house.prefix })
  await house.redis.set(house.keys.history('bad').order, 'of somebody else')
  const worker = await house.work(() => 'answer', { history })
  const client = house.client({ history })
  for (const sessionId of ['bad', 's']) await client.ask({ targetAgentType: 'agent', sessionId, content: 'hi' })
  expect(worker.history).toEqual({ status: 'UP', putBy: 0, lost: 2 })
  expect(await history.list('s')).toMatchObject([{ content: 'hi' }, { content: 'answer' }])
  const lost = house.logger.lines.filter(({ message }) => message === 'a message is not in the history')
  expect(lost.map(({ fields }) => [fields['sessionId'], fields['role']])).toEqual([
    ['bad', 'user'],
    ['bad', 'assistant'],
  ])
})
