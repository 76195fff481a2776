import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import type { AgentCall, AgentCallAccepted, ContractCall, GroupReply } from '../../src/agent/calls.ts'
import type { AgentContext } from '../../src/agent/context.ts'
import type { ContractContent, ContractInput, ContractResult } from '../../src/agent/contract.ts'
import { contentOf, defineAgent } from '../../src/agent/contract.ts'
import type { Schema } from '../../src/agent/schema.ts'
import type { GatewayClient, TaskResult } from '../../src/index.ts'
import { AskAgentCommand, type GatewayCommand, ResumeCommand } from '../../src/protocol/command.ts'
import { House } from '../worker/harness.ts'

const weather = defineAgent('weather', {
  input: z.object({
    city: z.string(),
    days: z.coerce.number().default(1),
    at: z
      .string()
      .transform((text) => new Date(text))
      .optional(),
  }),
  output: z.object({ summary: z.string(), degrees: z.string().transform(Number) }),
})
const header = { messageId: 'm', sessionId: 's', traceId: 't' }

describe('types', () => {
  type Input = ContractInput<typeof weather>
  type Content = ContractContent<typeof weather>
  type Result = ContractResult<typeof weather>

  test('the sender gives what the schema accepts, the handler gets what it makes, the sender receives the output', () => {
    expectTypeOf<Input>().toEqualTypeOf<{ city: string; days?: unknown; at?: string | undefined }>()
    expectTypeOf<Content>().toEqualTypeOf<{ city: string; days: number; at?: Date | undefined }>()
    expectTypeOf<Result>().toEqualTypeOf<{ summary: string; degrees: number }>()
    expectTypeOf(weather.agentType).toEqualTypeOf<string>()
    expectTypeOf(contentOf(weather, new AskAgentCommand({ header, content: 'x' }))).toEqualTypeOf<Content>()
  })

  test('of a send, an ask, and their results', () => {
    // Never called: the compiler is the one that judges here.
    const judged = async (client: GatewayClient) => {
      expectTypeOf(await client.ask({ target: weather, sessionId: 's', content: { city: 'x' } })).toEqualTypeOf<
        TaskResult<Result>
      >()
      expectTypeOf(await client.ask({ targetAgentType: 'x', sessionId: 's', content: 'x' })).toEqualTypeOf<
        TaskResult<unknown>
      >()
      expectTypeOf(
        (await client.ask<number>({ targetAgentType: 'x', sessionId: 's', content: 'x' })).data,
      ).toEqualTypeOf<number>()
      expectTypeOf((await client.result<{ a: 1 }>({ sessionId: 's', messageId: 'm' })).data).toEqualTypeOf<{ a: 1 }>()
      await client.sendMessage({ target: weather, sessionId: 's', content: { city: 'x', days: '3', at: '2026-01-01' } })
      // @ts-expect-error a city is missing
      await client.sendMessage({ target: weather, sessionId: 's', content: {} })
      // @ts-expect-error a city is a text
      await client.sendMessage({ target: weather, sessionId: 's', content: { city: 7 } })
      // @ts-expect-error this agent takes no text
      await client.ask({ target: weather, sessionId: 's', content: 'Beijing' })
      // @ts-expect-error a session is needed
      await client.sendMessage({ target: weather, content: { city: 'x' } })
      // @ts-expect-error either a name or a contract
      await client.sendMessage({ sessionId: 's', content: 'x' })
      // @ts-expect-error no such option
      await client.sendMessage({ targetAgentType: 'x', sessionId: 's', content: 'x', prioriy: 'high' })
      const { data } = await client.ask({ target: weather, sessionId: 's', content: { city: 'x' } })
      // @ts-expect-error the result has no such field
      data.nothing
    }
    expect(judged).toBeTypeOf('function')
  })

  test('of a group: each call by its own contract, those by name as before', () => {
    const place = defineAgent('place', { input: z.object({ name: z.string() }), output: z.number() })
    const judged = async (context: AgentContext) => {
      const [one, two, three] = await context.dispatchGroup([
        { target: weather, content: { city: 'x' }, priority: 'high' },
        { target: place, content: { name: 'x' } },
        { targetAgentType: 'x', content: ['x'] },
      ])
      expectTypeOf(one).toEqualTypeOf<GroupReply<Result>>()
      expectTypeOf(two).toEqualTypeOf<GroupReply<number>>()
      expectTypeOf(three).toEqualTypeOf<GroupReply>()
      const calls = ['x', 'y'].map((city) => ({ target: weather, content: { city } }))
      expectTypeOf(await context.dispatchGroup(calls, { failFast: true })).toEqualTypeOf<
        readonly GroupReply<Result>[]
      >()
      const named = ['x', 'y'].map((content) => ({ targetAgentType: 'x', content }))
      expectTypeOf(await context.dispatchGroup<number>(named)).toEqualTypeOf<readonly GroupReply<number>[]>()
      const either: (AgentCall | ContractCall)[] = [...calls, ...named]
      expectTypeOf(await context.dispatchGroup(either)).toEqualTypeOf<readonly GroupReply[]>()
      const accepted = await context.dispatchGroup(calls, { waitForReply: false })
      expectTypeOf(accepted).toEqualTypeOf<readonly AgentCallAccepted[]>()
      // @ts-expect-error a city is missing
      await context.dispatchGroup([{ target: weather, content: {} }])
      const first = { target: weather, content: { city: 'x' } }
      // @ts-expect-error a name is a text
      await context.dispatchGroup([first, { target: place, content: { name: 1 } }])
      // @ts-expect-error a city is missing
      await context.dispatchGroup([{ target: weather, content: {} }], { waitForReply: false })
      // @ts-expect-error no such priority
      await context.dispatchGroup([{ target: weather, content: { city: 'x' }, priority: 'urgent' }])
    }
    expect(judged).toBeTypeOf('function')
  })

  test('a schema of another library will do, and one that declares no types is unknown', () => {
    interface Point {
      readonly x: number
    }
    const point: Schema<string, Point> = {
      '~standard': { version: 1, vendor: 'mine', validate: (value) => ({ value: { x: Number(value) } }) },
    }
    const agent = defineAgent('point', { input: point, output: point })
    expectTypeOf<ContractInput<typeof agent>>().toEqualTypeOf<string>()
    expectTypeOf<ContractContent<typeof agent>>().toEqualTypeOf<Point>()
    const untyped = { '~standard': { version: 1, vendor: 'mine', validate: (value: unknown) => ({ value }) } } as const
    const free = defineAgent('free', { input: untyped, output: untyped })
    expectTypeOf<ContractInput<typeof free>>().toEqualTypeOf<unknown>()
    expectTypeOf<ContractResult<typeof free>>().toEqualTypeOf<unknown>()
  })
})

test('a contract is checked at once, and cannot be changed', () => {
  const schemas = { input: z.any(), output: z.any() }
  expect(() => defineAgent('a b', schemas)).toThrow(/^agentType is invalid.*"a b"/)
  expect(() => defineAgent('worker', schemas)).toThrow(/reserved/)
  expect(Object.isFrozen(weather)).toBe(true)
})

test.each([
  [
    { input: 5, output: z.any() },
    "input of agent 'a' is invalid: must be a schema of zod or of another library",
    '(got 5)',
  ],
  [{ input: z.any(), output: {} }, "output of agent 'a' is invalid: must be a schema", '(got {})'],
  [{ input: z.any() }, "output of agent 'a' is invalid: must be a schema", 'is left out'],
  [{ input: { '~standard': null }, output: z.any() }, "input of agent 'a' is invalid", '~standard'],
  [null, "the contract of 'a' is invalid: must be an object", '(got null)'],
])('what is no schema is refused where it is declared: %j', (schemas, said, value) => {
  const declare = () => defineAgent('a', schemas as never)
  expect(declare).toThrow(expect.objectContaining({ code: 'GW_INVALID_ARGUMENT' }))
  expect(declare).toThrow(said)
  expect(declare).toThrow(value)
})

test('contentOf gives the content of an ask, and refuses what has none', () => {
  expect(contentOf(weather, new AskAgentCommand({ header, content: { city: 'x', days: 1 } }))).toEqual({
    city: 'x',
    days: 1,
  })
  const resume: GatewayCommand = new ResumeCommand({ header, status: 'OK' })
  expect(() => contentOf(weather, resume)).toThrow(
    expect.objectContaining({ code: 'GW_CONTRACT_VIOLATION', message: expect.stringContaining('RESUME') }),
  )
})

describe('at work', () => {
  test('the handler gets whatever the schema makes of the content, also what could not be sent', async () => {
    const house = new House()
    const cases = [
      [z.string().transform(Number), '42', 42],
      [z.string().transform((text) => text === 'yes'), 'no', false],
      [z.string().transform(() => ''), 'x', ''],
      [z.string().transform(() => null), 'x', null],
      [z.string().transform(() => [] as string[]), 'x', []],
      [z.object({ at: z.coerce.date() }).transform(({ at }) => at), { at: '2026-01-01' }, new Date('2026-01-01')],
    ] as const
    const agents = cases.map(([input], index) => defineAgent(`agent_${index}`, { input, output: z.any() }))
    const seen: unknown[] = []
    await house.work((command) => seen.push(command.content), { capabilities: agents })
    for (const [index, [, content]] of cases.entries()) {
      const result = await house.client().ask({ targetAgentType: `agent_${index}`, sessionId: 's', content })
      expect(result).toMatchObject({ status: 'COMPLETED' })
    }
    expect(seen).toEqual(cases.map(([, , made]) => made))
  })

  test('what else the command says stays with it', async () => {
    const house = new House()
    let seen: Partial<AskAgentCommand> = {}
    await house.work(
      (command) => {
        seen = command
        return { summary: 'x', degrees: '1' }
      },
      { capabilities: [weather] },
    )
    const result = await house.client().ask({
      ...{ target: weather, sessionId: 's', content: { city: 'x' }, userCode: 'u', metadata: { a: 1 } },
      extraPayload: { b: 2 },
    })
    expect(result.data).toEqual({ summary: 'x', degrees: 1 })
    expect(seen).toBeInstanceOf(AskAgentCommand)
    expect(seen).toMatchObject({
      extraPayload: { b: 2 },
      header: { userCode: 'u', metadata: { a: 1 }, messageId: result.messageId },
    })
  })

  test('a schema that throws, or takes its time, is lived with', async () => {
    const house = new House()
    const throwing = defineAgent('throwing', {
      input: z.any().refine((value) => {
        if (value === 'bad') throw new Error('the schema is ill')
        return true
      }),
      output: z.any(),
    })
    const slow = defineAgent('slow', {
      input: z.object({ n: z.number().refine(async (n) => n > 1, 'too small') }),
      output: z.any(),
    })
    await house.work(() => 'fine', { capabilities: [throwing, slow] })
    const client = house.client()
    expect(await client.sendMessage({ target: throwing, sessionId: 's', content: 'bad' })).toMatchObject({
      status: 'REJECTED',
    })
    expect(await client.ask({ targetAgentType: 'throwing', sessionId: 's', content: 'bad' })).toMatchObject({
      status: 'FAILED',
    })
    expect(await client.sendMessage({ target: slow, sessionId: 's', content: { n: 1 } })).toMatchObject({
      ...{ status: 'REJECTED', error: { message: expect.stringContaining('n: too small') } },
    })
    expect(await client.ask({ target: slow, sessionId: 's', content: { n: 2 } })).toMatchObject({ data: 'fine' })
  })
})
