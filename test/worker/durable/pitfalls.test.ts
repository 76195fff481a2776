import { expect, test } from 'vitest'
import type { AgentContext } from '../../../src/agent/context.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { deferred } from '../../../src/util/deferred.ts'
import { House } from '../harness.ts'

const ref = { sessionId: 's', messageId: 'm' }
const send = { targetAgentType: 'agent', ...ref, content: 'hi' }
const call = { targetAgentType: 'child', content: 'x' }
const isSuspended = (house: House) => async () => (await house.client().getTask(ref))?.status === 'WAITING_AGENT'

/** A house whose task is suspended, and whose answer has come while nobody was there to hear it. */
async function answered(): Promise<House> {
  const house = new House()
  const client = house.client()
  const first = await house.work((_, context) => context.callAgent(call), { suspendAfterMs: 20, workerId: 'w-1' })
  await client.sendMessage(send)
  await waitFor(isSuspended(house))
  await house.settled('agent')
  await first.stop()
  const child = await house.work(() => 'late', { capabilities: ['child'] })
  await waitFor(async () => (await house.waiting('agent')) === 1)
  await child.stop()
  return house
}

test.each([
  ['before it began', false],
  ['after it had begun', true],
])('a resume whose worker dies %s is taken over, and runs once to its end', async (_, hasBegun) => {
  const house = await answered()
  // A worker that takes the entry, and is never heard of again.
  const taken = (await house.redis.xreadgroup(
    ...(['GROUP', 'agent_engines', 'w-dead', 'COUNT', 10, 'STREAMS', house.keys.control('agent'), '>'] as const),
  )) as [string, [string, string[]][]][]
  const [[entryId] = ['']] = taken[0]?.[1] ?? []
  const record = house.keys.task('s', 'm')
  if (hasBegun) {
    const epoch = Number(((await house.redis.hget(record, 'fence')) ?? '').split(':')[1]) + 1
    await house.redis.hset(record, 'fence', `R:${epoch}:${entryId}:w-dead`)
  }
  let runs = 0
  await house.work(
    async (_, context) => {
      runs += 1
      return (await context.callAgent(call)).content
    },
    { leaseMs: 1_000, workerId: 'w-2' },
  )
  expect((await house.client().result(ref)).data).toBe('late')
  expect(runs).toBe(1)
  await house.settled('agent')
})

test('a finally block does not run at a suspension, and once at the end', async () => {
  const house = new House()
  const gate = deferred()
  let [begun, freed] = [0, 0]
  await house.work(
    async (_, context) => {
      if (context.agentType === 'child') return gate.promise
      begun += 1
      try {
        await context.callAgent(call)
      } finally {
        freed += 1
      }
      return 'done'
    },
    { capabilities: ['agent', 'child'], suspendAfterMs: 20 },
  )
  const client = house.client()
  await client.sendMessage(send)
  await waitFor(isSuspended(house))
  expect([begun, freed]).toEqual([1, 0])
  gate.resolve()
  expect((await client.result(ref)).data).toBe('done')
  expect([begun, freed]).toEqual([2, 1])
})

test('thousands of recorded operations are replayed without a call of Redis each', { timeout: 120_000 }, async () => {
  const house = await House.private()
  const client = house.client()
  const operations = 10_000
  let runs = 0
  await house.work(
    async (_, context: AgentContext) => {
      runs += 1
      let sum = 0
      for (let from = 0; from < operations; from += 500) {
        const times = await Promise.all(Array.from({ length: 500 }, () => context.now()))
        sum += times.reduce((all, time) => all + time, 0)
      }
      await context.callAgent(call)
      return { sum, runs }
    },
    { suspendAfterMs: 20 },
  )
  await client.sendMessage(send)
  await waitFor(isSuspended(house), { timeoutMs: 60_000 })
  const calls = async () => Number(/total_commands_processed:(\d+)/.exec(await house.redis.info('stats'))?.[1])
  const before = await calls()
  await house.work(() => 'y', { capabilities: ['child'] })
  const { data } = await client.result<{ sum: number; runs: number }>({ ...ref, timeoutMs: 60_000 })
  expect(data.runs).toBe(2)
  expect(data.sum).toBeGreaterThan(operations * 1e12)
  // What is beside: two workers that look around while it lasts.
  expect((await calls()) - before).toBeLessThan(operations / 2)
})

test('thousands of recorded steps are replayed in less time than they took', { timeout: 120_000 }, async () => {
  const house = new House()
  const client = house.client()
  const tookMs: number[] = []
  await house.work(
    async (_, context: AgentContext) => {
      const began = performance.now()
      for (let from = 0; from < 6_000; from += 500) {
        await Promise.all(Array.from({ length: 500 }, () => context.step('one', () => 1)))
      }
      tookMs.push(performance.now() - began)
      await context.callAgent(call)
    },
    { suspendAfterMs: 20 },
  )
  await client.sendMessage(send)
  await waitFor(isSuspended(house), { timeoutMs: 60_000 })
  await house.work(() => 'y', { capabilities: ['child'] })
  expect(await client.result({ ...ref, timeoutMs: 60_000 })).toMatchObject({ status: 'COMPLETED' })
  const [first = 0, second = Number.POSITIVE_INFINITY] = tookMs
  expect(second).toBeLessThan(first)
})
