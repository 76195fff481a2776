import { expect, test } from 'vitest'
import { LUA } from '../../../src/redis/lua.generated.ts'
import { TcpProxy } from '../../support/tcp-proxy.ts'
import { folded, rawEvents, textOf } from '../../worker/durable/crew.ts'
import { House } from '../../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }

test('a step whose last words were written without an answer keeps them when they are said again', {
  timeout: 40_000,
}, async () => {
  const house = await House.private()
  const proxy = await TcpProxy.start(house.server.port)
  let lost = 0
  await house.work(
    async (_, context) => {
      await context.step('speak', async () => {
        await context.emitChunk('first ')
        lost = proxy.blackHole((connection) => connection.hasRun(LUA.say.sha), 'down')
        await context.emitChunk('last')
      })
      if (context.attempt === 1) throw new Error('again')
      return null
    },
    { redis: proxy.url, leaseMs: 30_000, retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 5 } } },
  )
  const client = house.client()
  await client.sendMessage(send)
  const result = await client.result({ ...send, timeoutMs: 30_000 })
  await proxy.stop()
  expect([lost, result]).toMatchObject([1, { status: 'COMPLETED', attempts: 2 }])
  expect(textOf(folded(await rawEvents(house, 's'), 'm'))).toBe('first last')
})
