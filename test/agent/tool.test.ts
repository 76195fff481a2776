import { expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type ToolInput, type Tools, tool } from '../../src/agent/tool.ts'

const forecast = tool({
  description: 'the forecast of a city',
  input: z.object({ city: z.string(), days: z.coerce.number().default(1) }),
  execute: async ({ city, days }, { signal, sessionId }) => {
    expectTypeOf(city).toEqualTypeOf<string>()
    expectTypeOf(days).toEqualTypeOf<number>()
    expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
    expectTypeOf(sessionId).toEqualTypeOf<string>()
    return { summary: `${city} ${days}` }
  },
})

test('a tool is what was said of it, with its types', () => {
  expect(forecast.description).toBe('the forecast of a city')
  expectTypeOf<ToolInput<typeof forecast>>().toEqualTypeOf<{ city: string; days?: unknown }>()
  expectTypeOf(forecast.execute).returns.resolves.toEqualTypeOf<{ summary: string }>()
})

test('tools of different inputs stand in one set', () => {
  const tools: Tools = { forecast, echo: tool({ description: 'echo', input: z.string(), execute: (text) => text }) }
  expect(Object.keys(tools)).toEqual(['forecast', 'echo'])
})

test('what does not fit its declared output is an error of the compiler', () => {
  const output = z.object({ summary: z.string() })
  tool({ description: '', input: z.string(), output, execute: () => ({ summary: 'x' }) })
  // @ts-expect-error the output has a summary
  tool({ description: '', input: z.string(), output, execute: () => ({ other: 'x' }) })
  // @ts-expect-error a description is needed
  tool({ input: z.string(), execute: () => 1 })
  expect(output).toBeDefined()
})

test('a tool returns what its output schema takes, which may make something else of it', () => {
  const about = { description: '', input: z.string() }
  const place = z.object({ name: z.string(), height: z.number().default(0) })
  const made = tool({ ...about, output: z.string().transform(Number), execute: async (text) => text })
  const filledIn = tool({ ...about, output: place, execute: (name): { name: string } => ({ name }) })
  const oneOf = tool({ ...about, output: z.enum(['dot', 'disc']), execute: async () => 'dot' })
  // @ts-expect-error the schema takes a text, and makes a number of it
  const wrong = tool({ ...about, output: z.string().transform(Number), execute: async (text) => text.length })
  expectTypeOf(made.execute).returns.resolves.toEqualTypeOf<string>()
  const tools: Tools = { made, filledIn, oneOf, wrong }
  expect(Object.keys(tools)).toHaveLength(4)
})
