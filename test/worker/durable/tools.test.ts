import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { AgentContext } from '../../../src/agent/context.ts'
import { tool } from '../../../src/agent/tool.ts'
import { Gate, House } from '../harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }
const quick = { retry: { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 10 } } } as const

/** A durable tool and one that is not, and how often each ran. */
function pair() {
  const ran = { booked: 0, looked: 0 }
  const tools = {
    book: tool({
      ...{ description: 'books', input: z.object({ room: z.string() }), durable: true },
      execute: ({ room }) => {
        ran.booked += 1
        return { room, number: ran.booked, at: new Date(0) }
      },
    }),
    look: tool({
      ...{ description: 'looks', input: z.object({}) },
      execute: () => {
        ran.looked += 1
        return ran.looked
      },
    }),
  }
  return { ran, tools }
}

describe('a durable tool', () => {
  test('runs once per call, whatever becomes of the attempts after it; another tool runs each time', async () => {
    const house = new House()
    const { ran, tools } = pair()
    await house.work(
      async (_, context) => {
        const seen = [
          await context.callTool('book', { room: 'a' }),
          await context.callTool('book', { room: 'b' }),
          await context.callTool('look', {}),
        ]
        if (context.attempt < 3) throw new Error('again')
        return seen
      },
      { ...quick, tools },
    )
    const at = '1970-01-01T00:00:00.000Z'
    expect((await house.client().ask(send)).data).toEqual([
      { room: 'a', number: 1, at },
      { room: 'b', number: 2, at },
      3,
    ])
    expect(ran).toEqual({ booked: 2, looked: 3 })
  })

  test('that fails does so again whenever the handler runs again in the attempt, and is tried again in the next', async () => {
    const house = new House()
    let ran = 0
    const tools = {
      charge: tool({
        ...{ description: 'charges', input: z.object({}), durable: true },
        execute: () => {
          ran += 1
          throw Object.assign(new Error(`declined ${ran}`), { code: 'card_declined' })
        },
      }),
    }
    const seen: unknown[] = []
    await house.work(
      async (_, context) => {
        const error = await context.callTool('charge', {}).catch((thrown: unknown) => thrown)
        const { message, code } = error as Error & { code?: unknown }
        seen.push(`${context.attempt}: ${message} ${code}`)
        // What was slept in the attempt before is not slept again.
        for (let slept = 0; slept < context.attempt; slept += 1) await context.sleep(50)
        if (context.attempt === 1) throw new Error('again')
      },
      { ...quick, tools, suspendAfterMs: 0 },
    )
    await house.client().ask(send)
    const [first, second] = ['1: declined 1 card_declined', '2: declined 2 card_declined']
    expect([seen, ran]).toEqual([[first, first, second, second], 2])
  })

  test('that failed and comes to something in the next attempt lets the handler go another way from there', async () => {
    const house = new House()
    const { tools } = pair()
    let ran = 0
    const search = tool({
      ...{ description: 'searches', input: z.object({}), durable: true },
      execute: () => {
        ran += 1
        if (ran === 1) throw new Error('busy')
        return 'b'
      },
    })
    await house.work(
      async (_, context) => {
        const room = await context.callTool('search', {}).catch(() => 'a')
        await context.callTool('book', { room })
        if (context.attempt === 1) throw new Error('again')
        return room
      },
      { ...quick, tools: { ...tools, search } },
    )
    expect(await house.client().ask(send)).toMatchObject({ data: 'b', attempts: 2 })
  })

  test('that its worker did not live to end runs again', async () => {
    const house = new House()
    const gate = new Gate()
    let ran = 0
    const tools = {
      slow: tool({
        ...{ description: 'slow', input: z.object({}), durable: true },
        execute: async () => {
          ran += 1
          if (ran === 1) await gate.pass()
          return ran
        },
      }),
    }
    const handle = (_: unknown, context: AgentContext) => context.callTool('slow', {})
    const dying = await house.work(handle, { workerId: 'w-1', tools })
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    await dying.stop()
    await house.work(handle, { workerId: 'w-2', tools })
    expect((await client.result({ sessionId: 's', messageId: 'm' })).data).toBe(2)
    gate.open()
  })

  test('called with something else on a replay is found', async () => {
    const house = new House()
    const { tools } = pair()
    let run = 0
    await house.work(
      async (_, context) => {
        run += 1
        await context.callTool('book', { room: `${run}` })
        throw new Error('again')
      },
      { ...quick, tools },
    )
    const { error } = await house.client().ask(send)
    expect(error).toMatchObject({ code: 'GW_NON_DETERMINISM', message: expect.stringMatching(/tool:book#0.*"2".*"1"/) })
  })

  test('refuses bad input, and what JSON cannot compare or record', async () => {
    const house = new House()
    const { tools } = pair()
    const odd = tool({ description: 'odd', input: z.unknown(), durable: true, execute: () => 1n })
    const failure = (error: { code?: string; message: string }) => [error.code, error.message]
    await house.work(
      async (_, context) => [
        await context.callTool('book', { room: 1 }).catch(failure),
        await context.callTool('book', { room: 1n }).catch(failure),
        await context.callTool('odd', {}).catch(failure),
      ],
      { tools: { ...tools, odd } },
    )
    const { data } = await house.client().ask(send)
    expect(data).toEqual([
      ['GW_TOOL_INPUT_INVALID', expect.stringMatching(/room: .*got 1/)],
      ['GW_TOOL_INPUT_INVALID', expect.stringMatching(/BigInt/)],
      ['GW_INVALID_ARGUMENT', expect.stringMatching(/the result of \/tool:odd#0 is invalid.*BigInt/)],
    ])
  })
})
