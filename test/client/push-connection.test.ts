import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { unhandledRejections } from '../support/rejections.ts'
import { House, memoryLogger } from '../worker/harness.ts'

test('a client that closes while its push connection comes back ends no process', async () => {
  const house = await House.private()
  const rejections = unhandledRejections()
  for (let round = 0; round < 60; round += 1) {
    const client = house.client()
    const subscriptions = Array.from({ length: 5 }, (_, index) => client.subscribe(`s-${index}`))
    await Promise.all(subscriptions.map((subscription) => subscription.opened()))
    const reading = Promise.allSettled(subscriptions.map((subscription) => subscription.next()))
    // It is back within some 60 ms, and is lost again with its subscriptions under way.
    for (const ms of [4, 60, 4]) {
      await house.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
      await pause(Math.random() * ms)
    }
    await client.close()
    await reading
  }
  expect(rejections).toEqual([])
})

test('a server that no longer lets us subscribe after a loss is told of once, and the events are found', async () => {
  const house = await House.private()
  await house.work((command, context) => context.emitChunk(`${command.content}`))
  await house.redis.call('ACL', 'SETUSER', 'reader', 'on', '>secret', '~*', '&*', '+@all')
  const rejections = unhandledRejections()
  const logger = memoryLogger()
  const client = house.client({ redis: house.url.replace('//', '//reader:secret@'), logger })
  const subscription = client.subscribe('s')
  await subscription.opened()
  await house.redis.call('ACL', 'SETUSER', 'reader', '-subscribe')
  await house.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await pause(300)
  await house.client().sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'hi' })
  expect((await subscription.next()).value).toMatchObject({ type: 'chunk', content: 'hi' })
  const told = logger.lines.filter(({ message }) => message.startsWith('Redis refused to push events again'))
  expect(told).toMatchObject([{ level: 'warn', fields: { reason: expect.stringMatching(/NOPERM/) } }])
  expect(rejections).toEqual([])
})

test('what a server no longer lets us hear after a loss is heard again once it does', async () => {
  const house = await House.private()
  await house.work((command, context) => context.emitChunk(`${command.content}`))
  await house.redis.call('ACL', 'SETUSER', 'reader', 'on', '>secret', '~*', '&*', '+@all')
  const rejections = unhandledRejections()
  const logger = memoryLogger()
  const client = house.client({ redis: house.url.replace('//', '//reader:secret@'), logger })
  const sessions = ['s', 't', 'u']
  const subscriptions = sessions.map((session) => client.subscribe(session))
  await Promise.all(subscriptions.map((subscription) => subscription.opened()))
  // Ends the connection as well: it hears what it may not.
  await house.redis.call('ACL', 'SETUSER', 'reader', 'resetchannels')
  await waitFor(() => logger.lines.some(({ message }) => message.startsWith('Redis refused to push events again')))
  await pause(2_500)
  await subscriptions[2]?.return()
  await house.redis.call('ACL', 'SETUSER', 'reader', 'allchannels')
  const heard = async () => ((await house.redis.pubsub('CHANNELS', '*')) as string[]).sort()
  await waitFor(async () => (await heard()).length === 2, { timeoutMs: 3_000, message: 'the pushes to come again' })
  expect(await heard()).toEqual(['s', 't'].map((session) => house.keys.data(session)))
  await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'hi' })
  expect((await subscriptions[0]?.next())?.value).toMatchObject({ type: 'chunk', content: 'hi' })
  const told = logger.lines.filter(({ level, message }) => level === 'warn' && message.startsWith('Redis refused'))
  expect(told).toHaveLength(1)
  await Promise.all(subscriptions.map((subscription) => subscription.return()))
  await waitFor(async () => (await heard()).length === 0)
  expect(rejections).toEqual([])
})
