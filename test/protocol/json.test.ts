import { expect, test } from 'vitest'
import { isObject, parseJson } from '../../src/protocol/json.ts'

test('JSON is parsed, and what is none is a value with a reason', () => {
  expect(parseJson('{"a":[1]}')).toEqual({ ok: true, value: { a: [1] } })
  expect(parseJson('null')).toEqual({ ok: true, value: null })
  expect(parseJson('{')).toEqual({ ok: false, reason: expect.stringMatching(/JSON/) })
})

test('only plain containers count as objects', () => {
  expect([{}, { a: 1 }].map(isObject)).toEqual([true, true])
  expect([null, undefined, [], 'x', 1, true].map(isObject)).toEqual([false, false, false, false, false, false])
})
