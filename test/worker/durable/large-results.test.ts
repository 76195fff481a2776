import { describe, expect, test } from 'vitest'
import type { AgentContext } from '../../../src/agent/context.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { deferred } from '../../../src/util/deferred.ts'
import { House } from '../harness.ts'

const ref = { sessionId: 's', messageId: 'm' }
const send = { targetAgentType: 'agent', ...ref, content: 'hi' }
const LARGE = 'ä'.repeat(100_000)
const capabilities = ['agent', 'child']

/** The journal of the task as it lies in Redis: the largest field, and what lies beside it. */
async function stored({ redis, keys }: House): Promise<{ largest: number; beside: string[] }> {
  const fields = Object.values(await redis.hgetall(keys.journal('s', 'm')))
  const beside = await redis.hkeys(keys.blobs('s', 'm'))
  return { largest: Math.max(...fields.map(({ length }) => length)), beside: beside.sort() }
}

describe('a large result', () => {
  test('lies beside the journal, is there on a replay, and goes with the task', async () => {
    const house = new House()
    const gate = deferred()
    let run = 0
    await house.work(
      async ({ content }, context) => {
        if (context.agentType === 'child') {
          if (content === 'last') await gate.promise
          return content === 'last' ? 'end' : { text: LARGE }
        }
        run += 1
        const step = await context.step('think', async () => {
          await context.emitChunk('thinking')
          return LARGE
        })
        const { data } = await context.callAgent<{ text: string }>({ targetAgentType: 'child', content: 'x' })
        const answer = await context.askUser<string>('Well?')
        const { content: last } = await context.callAgent({ targetAgentType: 'child', content: 'last' })
        return [step, data.text, answer].map((text) => text === LARGE).concat(last === 'end')
      },
      { capabilities, suspendAfterMs: 20 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.pendingAsks('s')).length === 1)
    const [ask] = await client.pendingAsks('s')
    expect(await client.reply({ ...ref, askId: ask?.askId ?? '', content: LARGE })).toMatchObject({ success: true })
    await waitFor(async () => (await client.listTasks({ sessionId: 's' })).length === 3)
    await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_AGENT')
    expect(await stored(house)).toEqual({
      largest: expect.any(Number),
      beside: ['/ask:#0', '/call:child#0', '/step:think#0'],
    })
    expect((await stored(house)).largest).toBeLessThan(1_000)
    gate.resolve()
    expect((await client.result(ref)).data).toEqual([true, true, true, true])
    expect(run).toBeGreaterThan(1)
    expect(await client.text('s', 'm')).toBe('thinking')
    expect(await house.redis.exists(house.keys.blobs('s', 'm'), house.keys.journal('s', 'm'))).toBe(0)
  })

  test('is read once by who waits for many at a time', async () => {
    const house = await House.private()
    const count = 60
    const text = 'x'.repeat(40_000)
    await house.work(
      async (_command, context) => {
        if (context.agentType === 'child') return text
        const call = (_: unknown, i: number) => ({ targetAgentType: 'child', content: `${i}` })
        const replies = await context.dispatchGroup(Array.from({ length: count }, call))
        return replies.filter((reply) => reply.status === 'COMPLETED' && reply.content === text).length
      },
      { capabilities, maxConcurrency: count },
    )
    const lookups = async () =>
      Number(/cmdstat_hget:calls=(\d+)/.exec(await house.redis.info('commandstats'))?.[1] ?? 0)
    const before = await lookups()
    expect((await house.client().ask(send)).data).toBe(count)
    // One where it is written, to know the place beside the journal, and one where it is read.
    expect((await lookups()) - before).toBeLessThan(3 * count)
  })

  test('does not lose a race on a replay that it has won', async () => {
    const house = new House()
    const [small, last] = [deferred(), deferred()]
    const winners: number[] = []
    await house.work(
      async ({ content }, context) => {
        if (context.agentType === 'child') {
          if (content === 'small') await small.promise
          if (content === 'last') await last.promise
          return content === 'large' ? LARGE : content
        }
        const ask = async (text: string) =>
          (await context.callAgent({ targetAgentType: 'child', content: text })).content.length
        winners.push(await Promise.race([ask('small'), ask('large')]))
        small.resolve()
        await ask('last')
      },
      { capabilities, suspendAfterMs: 100 },
    )
    const client = house.client()
    await client.sendMessage(send)
    const isThere = async () => (await client.listTasks({ sessionId: 's' })).length === 4
    await waitFor(async () => (await isThere()) && (await client.getTask(ref))?.status === 'WAITING_AGENT')
    last.resolve()
    expect((await client.result(ref)).status).toBe('COMPLETED')
    expect(winners.length).toBeGreaterThan(1)
    expect(new Set(winners)).toEqual(new Set([LARGE.length]))
  })

  test('of a person is refused beyond the limit, in plain words', async () => {
    const house = new House()
    await house.work((_, context: AgentContext) => context.askUser('Well?'))
    const client = house.client({ maxPayloadBytes: 1_000 })
    await client.sendMessage(send)
    await waitFor(async () => (await client.pendingAsks('s')).length === 1)
    const [ask] = await client.pendingAsks('s')
    const answer = { ...ref, askId: ask?.askId ?? '' }
    expect(await client.reply({ ...answer, content: 'x'.repeat(2_000) })).toEqual({
      ...{ success: false, status: 'INVALID', reason: 'has 2002 bytes, the limit is 1000' },
    })
    expect((await client.reply({ ...answer, content: 'x' })).success).toBe(true)
    expect((await client.result(ref)).data).toBe('x')
  })
})
