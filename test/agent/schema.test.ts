import { expect, test } from 'vitest'
import { z } from 'zod'
import { checkSchema, type Schema, type SchemaIssue } from '../../src/agent/schema.ts'

const refusing = (...issues: SchemaIssue[]): Schema => ({
  '~standard': { version: 1, vendor: 'mine', validate: () => ({ issues }) },
})

test('a value that fits comes as the schema made it', async () => {
  expect(await checkSchema(z.coerce.number(), '7')).toEqual({ ok: true, value: 7 })
  expect(await checkSchema(z.undefined(), undefined)).toEqual({ ok: true, value: undefined })
  expect(
    await checkSchema(
      z.string().transform(async (text) => text.length),
      'abc',
    ),
  ).toEqual({ ok: true, value: 3 })
})

test('one that does not is told with all its paths', async () => {
  const schema = z.object({ a: z.object({ b: z.array(z.string()) }), c: z.number() })
  expect(await checkSchema(schema, { a: { b: ['x', 7] }, c: 'x' })).toEqual({
    ...{ ok: false, reason: expect.stringMatching(/^a\.b\.1: .*; c: /) },
  })
  expect(await checkSchema(z.string(), 7)).toEqual({ ok: false, reason: expect.not.stringMatching(/^: /) })
})

test('one with very many faults is told with the first of them, and how many more there are', async () => {
  const checked = await checkSchema(z.array(z.string()), Array(100_000).fill(7))
  const parts = checked.ok ? [] : checked.reason.split('; ')
  expect(parts).toHaveLength(21)
  expect(parts.at(-1)).toBe('and 99980 more')
})

test('a path that is a kind of array of its own is told as it is, as are those of ArkType', async () => {
  class ReadonlyPath extends Array<PropertyKey> {
    constructor(...keys: PropertyKey[]) {
      super()
      this.push(...keys)
    }
  }
  const schema = refusing(
    { message: 'must be a string (was an object)', path: new ReadonlyPath() },
    { message: 'must be a number', path: new ReadonlyPath('a', 1) },
  )
  expect(await checkSchema(schema, ['x'])).toEqual({
    ...{ ok: false, reason: 'must be a string (was an object) (got ["x"]); a.1: must be a number' },
  })
})

test('paths of other libraries are told too', async () => {
  const schema = refusing(
    { message: 'one', path: ['a', 0, Symbol('s')] },
    { message: 'two', path: [{ key: 'b' }, { key: 1 }] },
    { message: 'three', path: [] },
    { message: 'four' },
  )
  expect(await checkSchema(schema, 1)).toEqual({
    ...{ ok: false, reason: 'a.0.Symbol(s): one; b.1: two; three (got 1); four (got 1)' },
  })
  expect(await checkSchema(schema, { b: ['x', 'y'] })).toMatchObject({
    reason: expect.stringContaining('two (got "y")'),
  })
})
