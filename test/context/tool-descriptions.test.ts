import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { Schema, SchemaResult } from '../../src/agent/schema.ts'
import { type Tools, tool } from '../../src/agent/tool.ts'
import { Toolbox } from '../../src/context/toolbox.ts'
import { ToolInputError } from '../../src/errors.ts'
import { House, type LogLine, memoryLogger } from '../worker/harness.ts'

const described = (tools: Tools) => new Toolbox(tools).describe(memoryLogger())
const execute = () => null

/** A schema as somebody writes it by hand: only what Standard Schema asks for. */
const byHand: Schema<{ city: string }> = {
  '~standard': {
    ...{ version: 1, vendor: 'by-hand' },
    validate: (value): SchemaResult<{ city: string }> => {
      const { city } = Object(value)
      if (typeof city === 'string') return { value: { city: city.trim() } }
      return { issues: [{ message: 'a city is needed', path: [{ key: 'city' }] }] }
    },
  },
}

/** The same with Standard JSON Schema. */
const describing: Schema<{ city: string }> = {
  '~standard': {
    ...byHand['~standard'],
    jsonSchema: {
      input: ({ target }) => ({
        ...{ $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'object', $comment: target },
        properties: { city: { type: 'string' } },
      }),
    },
  },
}

describe('a description', () => {
  test('of a tool with zod has the JSON Schema of what goes in', () => {
    const input = z.object({
      city: z.string().min(2).describe('name of the city'),
      days: z.coerce.number().int().default(1),
      unit: z.enum(['C', 'F']).optional(),
    })
    expect(described({ forecast: tool({ description: 'the forecast', input, execute }) })).toEqual([
      {
        ...{ name: 'forecast', description: 'the forecast' },
        inputSchema: {
          type: 'object',
          properties: {
            city: { type: 'string', minLength: 2, description: 'name of the city' },
            days: expect.objectContaining({ default: 1 }),
            unit: { type: 'string', enum: ['C', 'F'] },
          },
          required: ['city'],
        },
      },
    ])
  })

  test('of zod without Standard JSON Schema is made by zod all the same', () => {
    const input = z.object({ n: z.number() })
    const { jsonSchema: _, ...standard } = input['~standard']
    const older = Object.create(input, { '~standard': { value: standard } })
    const [own, made] = described({
      own: tool({ description: '', input, execute }),
      made: tool({ description: '', input: older, execute }),
    })
    expect(made?.inputSchema).toEqual(own?.inputSchema)
    expect(made?.inputSchema).toMatchObject({ type: 'object', required: ['n'] })
  })

  test('leaves open what JSON Schema cannot say', () => {
    const input = z.object({ at: z.date(), huge: z.bigint(), tags: z.set(z.string()) })
    const [one] = described({ odd: tool({ description: '', input, execute }) })
    expect(one?.inputSchema).toMatchObject({ type: 'object', properties: { at: {}, huge: {}, tags: {} } })
  })

  test('of a schema that refers to itself is finite', () => {
    const node = z.object({
      name: z.string(),
      get children() {
        return z.array(node)
      },
    })
    const [one] = described({ walk: tool({ description: '', input: node, execute }) })
    expect(JSON.stringify(one?.inputSchema)).toContain('"$ref"')
  })

  test('comes from Standard JSON Schema of whatever library', () => {
    const [one] = described({ weather: tool({ description: '', input: describing, execute }) })
    expect(one?.inputSchema).toEqual({
      ...{ type: 'object', $comment: 'draft-2020-12', properties: { city: { type: 'string' } } },
    })
  })

  test('is the one given, before any other', () => {
    const inputSchema = { type: 'object', required: ['city'] }
    const tools = {
      one: tool({ description: '', input: byHand, inputSchema, execute }),
      two: tool({ description: '', input: describing, inputSchema, execute }),
    }
    expect(described(tools).map((each) => each.inputSchema)).toEqual([inputSchema, inputSchema])
  })

  test('is {} where nobody can tell, and that is logged once', () => {
    const throwing: Schema = {
      '~standard': {
        ...byHand['~standard'],
        jsonSchema: {
          input: () => {
            throw new Error('not this one')
          },
        },
      },
    }
    const lines: LogLine[] = []
    const toolbox = new Toolbox({
      silent: tool({ description: 'a', input: byHand, execute }),
      failing: tool({ description: 'b', input: throwing, execute }),
    })
    for (let n = 0; n < 3; n++) {
      expect(toolbox.describe(memoryLogger(lines))).toEqual([
        { name: 'silent', description: 'a', inputSchema: {} },
        { name: 'failing', description: 'b', inputSchema: {} },
      ])
    }
    expect(lines.map(({ level, fields }) => [level, fields.tool, fields.reason])).toEqual([
      ['debug', 'silent', 'by-hand does not speak Standard JSON Schema'],
      ['debug', 'failing', 'not this one'],
    ])
  })

  test('may be changed by whoever asked for it', () => {
    const toolbox = new Toolbox({ weather: tool({ description: '', input: describing, execute }) })
    const [first] = toolbox.describe(memoryLogger())
    Object.assign(first?.inputSchema ?? {}, { additionalProperties: false })
    expect(toolbox.describe(memoryLogger())[0]?.inputSchema).not.toHaveProperty('additionalProperties')
  })
})

describe('a tool with a schema of somebody else', () => {
  const weather = tool({ description: '', input: byHand, output: byHand, execute: async ({ city }) => ({ city }) })

  test('is called with what the schema made, and checked after', async () => {
    const house = new House()
    await house.work(
      async (_command, context) => [
        context.describeTools().map(({ name }) => name),
        await context.callTool('weather', { city: ' Beijing ' }),
        await context
          .callTool('weather', { city: 7 })
          .catch((error) => [error instanceof ToolInputError, error.message]),
      ],
      { tools: { weather } },
    )
    const { data } = await house.client().ask({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
    expect(data).toEqual([
      ['weather'],
      { city: 'Beijing' },
      [true, "input of tool 'weather' is invalid: city: a city is needed (got 7)"],
    ])
  })
})

describe('an error of input', () => {
  const message = async (input: Schema, args: unknown): Promise<string> => {
    const toolbox = new Toolbox({ t: tool({ description: '', input, execute }) })
    const context = {
      signal: new AbortController().signal,
      sessionId: 's',
      messageId: 'm',
      attempt: 1,
      fencingToken: 1,
    }
    const error = await toolbox.call('t', args, { ...context, logger: memoryLogger() }).catch((reason) => reason)
    return (error as Error).message
  }

  test('names path and value, also deep inside', async () => {
    const input = z.object({ stops: z.array(z.object({ city: z.string() })) })
    const text = await message(input, { stops: [{ city: 'a' }, { city: { name: 'b' } }] })
    expect(text).toMatch(/stops\.1\.city: .*expected string.* \(got \{"name":"b"\}\)$/)
  })

  test('shows no value where none is, nor one that was inherited', async () => {
    expect(await message(z.object({ city: z.string() }), {})).toMatch(/city: [^(]*$/)
    expect(await message(z.object({ constructor: z.string() }), {})).toMatch(/constructor: [^(]*$/)
    expect(await message(z.object({ city: z.string() }), null)).toMatch(/expected object.*\(got null\)$/)
  })

  test('cuts what is long', async () => {
    const text = await message(z.object({ n: z.number() }), { n: 'x'.repeat(10_000) })
    expect(text.length).toBeLessThan(300)
    expect(text).toContain('xxx...')
  })
})

describe('at the start of a worker', () => {
  const fine = tool({ description: 'fine', input: z.any(), execute })
  const circle: Record<string, unknown> = { type: 'object' }
  circle.itself = circle
  const start = (tools: unknown) => {
    const house = new House()
    return house.work(() => null, { tools: tools as Tools })
  }

  test.each(['get weather', 'wetter-für-köln', 'a.b', '', 'x'.repeat(65), 'tool/x'])(
    'the name %j is refused',
    async (name) => {
      await expect(start({ fine, [name]: fine })).rejects.toMatchObject({
        code: 'GW_INVALID_ARGUMENT',
        message: expect.stringMatching(/^the name of a tool is invalid: 1 to 64 of letters, digits, _ - .* \(got "/),
      })
    },
  )

  test.each([
    [{ t: { ...fine, description: 7 } }, "description of tool 't' is invalid: must be a text (got 7)"],
    [{ t: { ...fine, input: { type: 'object' } } }, "input of tool 't' is invalid: must be a schema of zod"],
    [{ t: { ...fine, input: undefined } }, "input of tool 't' is invalid"],
    [{ t: { ...fine, output: 'string' } }, "output of tool 't' is invalid"],
    [{ t: { ...fine, execute: 'x' } }, "execute of tool 't' is invalid: must be a function"],
    [{ t: { ...fine, timeoutMs: 0 } }, "timeoutMs of tool 't' is invalid"],
    [{ t: { ...fine, timeoutMs: 2 ** 31 } }, "timeoutMs of tool 't' is invalid"],
    [{ t: { ...fine, inputSchema: 'x' } }, "inputSchema of tool 't' is invalid"],
    [
      { t: { ...fine, inputSchema: circle } },
      "inputSchema of tool 't' is invalid: Converting circular structure to JSON",
    ],
    [{ t: { ...fine, durable: 'yes' } }, "durable of tool 't' is invalid: must be true or false"],
    [{ t: null }, "tool 't' is invalid: must be what tool({ … }) returns"],
    [[fine], 'getTools() is invalid: must return an object of tools by name'],
    [Promise.resolve({ fine }), 'getTools() is invalid: must return an object of tools by name, not a promise'],
    [null, 'getTools() is invalid'],
  ])('%o is refused', async (tools, message) => {
    await expect(start(tools)).rejects.toMatchObject({
      ...{ code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining(message) },
    })
  })

  test('all that a tool may have is taken, also a schema that is a function', async () => {
    const callable = Object.assign(() => true, byHand) as unknown as Schema
    const full = tool({ ...fine, timeoutMs: 1_000, durable: true, inputSchema: {}, output: z.null() })
    const worker = await start({
      full,
      callable: tool({ description: '', input: callable, execute }),
      Under_score_9: fine,
    })
    expect(worker.capabilities).toEqual(['agent'])
  })
})
