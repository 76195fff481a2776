import { expect, test } from 'vitest'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { heapUsed } from '../support/heap.ts'
import { sized } from '../support/size.ts'
import { House } from '../worker/harness.ts'

const COUNT = sized({ short: 2_000, long: 10_000 })

test('thousands of subscriptions of one client share three connections at most, and each hears its own', {
  timeout: 120_000,
}, async () => {
  const house = await House.private()
  const connections = async () => ((await house.redis.client('LIST')) as string).trim().split('\n').length
  await house.work((command, context) => context.emitChunk(`for ${context.sessionId}`).then(() => command.content), {
    maxConcurrency: 200,
  })
  await new Promise((resolve) => setTimeout(resolve, 500)) // its lease thread has connected by now
  const before = await connections()
  const client = house.client()
  const subscriptions = Array.from({ length: COUNT }, (_, i) => client.subscribe(`s-${i}`))
  await Promise.all(subscriptions.map((subscription) => subscription.opened()))
  expect((await connections()) - before).toBeLessThanOrEqual(3)
  expect(await house.redis.pubsub('CHANNELS')).toHaveLength(COUNT)
  const first = Promise.all(
    subscriptions.map(async (subscription) => (await subscription.next()).value as SessionEvent),
  )
  const heap = heapUsed()
  const sender = house.client()
  for (let from = 0; from < COUNT; from += 500) {
    await Promise.all(
      Array.from({ length: 500 }, (_, i) =>
        sender.sendMessage({ targetAgentType: 'agent', sessionId: `s-${from + i}`, content: 'x' }),
      ),
    )
  }
  const events = await first
  const said = events.map((event) => (event.type === 'chunk' ? event.content : event.type))
  expect(said).toEqual(Array.from({ length: COUNT }, (_, i) => `for s-${i}`))
  expect((await connections()) - before).toBeLessThanOrEqual(4) // the sender's one
  // An event each, and what Node keeps of it: not what was collected in the meantime or not.
  expect(heapUsed() - heap).toBeLessThan(10_000_000 + COUNT * 5_000)
  await Promise.all(subscriptions.map((subscription) => subscription.return()))
  await waitFor(async () => ((await house.redis.pubsub('CHANNELS')) as string[]).length === 0, { timeoutMs: 10_000 })
})

/** How many bytes the server sends for each of so many tasks of one session whose ends are waited for. */
async function sentPerTask(count: number): Promise<number> {
  const house = await House.private()
  await house.work((command) => command.content, { maxConcurrency: 200 })
  const client = house.client()
  const ask = () => client.ask({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
  await ask()
  const sent = async () =>
    Number(/total_net_output_bytes:(\d+)/.exec(await house.redis.info('stats'))?.[1] ?? Number.NaN)
  const before = await sent()
  const answers = await Promise.all(Array.from({ length: count }, ask))
  expect(answers.map(({ data }) => data)).toEqual(answers.map(() => 'x'))
  return ((await sent()) - before) / count
}

test('those who wait for ends in one session do not each read what the others are told', async () => {
  const [few, many] = [await sentPerTask(50), await sentPerTask(800)]
  // Each read the whole session: sixteen times as much.
  expect(many).toBeLessThan(few * 2)
})
