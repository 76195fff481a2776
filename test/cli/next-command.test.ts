import { expect, test } from 'vitest'
import { z } from 'zod'
import { type AgentContract, defineAgent } from '../../src/agent/contract.ts'
import type { Schema } from '../../src/agent/schema.ts'
import { nextCommand } from '../../src/cli/next-command.ts'
import type { Settings } from '../../src/cli/settings.ts'

const settings: Settings = { values: {}, sources: new Map() } as never

const taking = (input: Schema): AgentContract => defineAgent('sums', { input, output: z.unknown() })

const unspeakable: Schema = {
  '~standard': {
    version: 1,
    vendor: 'own',
    validate: (value) => ({ value }),
    jsonSchema: {
      input: () => {
        throw new Error('a date has no JSON Schema')
      },
    },
  },
}

test.each([
  ['no contract', undefined, '"Hello"'],
  ['a text', z.string(), '"Hello"'],
  [
    'an object',
    z.object({ a: z.number(), 'b c': z.string(), d: z.string().optional() }),
    `'{"a": …, "b c": …}' --data`,
  ],
  ['an object that may be empty', z.object({ a: z.number().default(1) }), `'{"a": …}' --data`],
  ['an object of any members', z.record(z.string(), z.number()), `'{}' --data`],
  ['a list', z.array(z.string()), `'[…]' --data`],
  ['either', z.union([z.string(), z.object({ a: z.number() })]), '"Hello"'],
  ['what cannot be told', unspeakable, '"Hello"'],
])('says to an agent that takes %s what it takes', (_, input, said) => {
  expect(nextCommand('sums', input && taking(input), settings, undefined)).toBe(
    `Try in another terminal: npx byclaw send sums ${said}`,
  )
})

test('names the Redis that was started', () => {
  expect(nextCommand('sums', undefined, settings, 'redis://127.0.0.1:7001/0')).toMatch(
    / "Hello" --redis-url redis:\/\/127\.0\.0\.1:7001\/0$/,
  )
})
