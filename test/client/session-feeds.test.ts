import { expect, onTestFinished, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { heapUsed } from '../support/heap.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { House } from '../worker/harness.ts'

const BRIEF = 5_000

test('who comes and goes while the server is away leaves nothing behind', { timeout: 40_000 }, async () => {
  const house = await House.private()
  const client = house.client()
  await client.subscribe('before').opened()
  await house.server.stop()
  await waitFor(() => house.logger.lines.some(({ fields }) => fields.connection === 'subscriber'))
  const before = heapUsed()
  for (let number = 0; number < BRIEF; number += 1) {
    const subscription = client.subscribe(`brief-${number}`, { after: '0' })
    await subscription.return()
    await subscription.opened()
  }
  // Each was some six thousand bytes.
  expect(heapUsed() - before).toBeLessThan(BRIEF * 500)
})

test('what was subscribed and left in an outage is so when the server is back', { timeout: 40_000 }, async () => {
  const house = new House()
  const proxy = await TcpProxy.start(Number(new URL(house.url).port))
  onTestFinished(() => proxy.stop())
  const client = house.client({ redis: proxy.url })
  const follow = (sessionId: string) => client.subscribe(sessionId, { after: '0' })
  const [stays, left, returned] = [follow('stays'), follow('left'), follow('returned')]
  await Promise.all([stays, left, returned].map((subscription) => subscription.opened()))
  proxy.refuse()
  proxy.cut()
  await waitFor(() => house.logger.lines.some(({ fields }) => fields.connection === 'subscriber'))
  await Promise.all([left.return(), returned.return(), follow('brief').return()])
  const [again, fresh] = [follow('returned'), follow('fresh')]
  await proxy.listen()
  await Promise.all([again.opened(), fresh.opened()])
  const channel = (sessionId: string) => house.keys.data(sessionId)
  await waitFor(async () => {
    const heard = (await house.redis.pubsub('CHANNELS', channel('*').replace(/[{}]/g, '?'))) as string[]
    expect(heard.sort()).toEqual([channel('fresh'), channel('returned'), channel('stays')])
    return true
  })
  await house.work((_, context) => context.emitChunk('hi'))
  await client.sendMessage({ targetAgentType: 'agent', sessionId: 'fresh', content: 'x' })
  await expect(fresh.next()).resolves.toMatchObject({ value: { type: 'chunk', content: 'hi' } })
})

test('a server that refuses the password is not waited for', async () => {
  const house = await House.private(['--requirepass', 'right'])
  const client = house.client({ redis: house.url.replace('redis://', 'redis://:wrong@') })
  const refused = expect.objectContaining({ code: 'GW_REDIS_FAILED', message: expect.stringContaining('WRONGPASS') })
  await expect(client.subscribe('s', { after: '0' }).next()).rejects.toEqual(refused)
})
