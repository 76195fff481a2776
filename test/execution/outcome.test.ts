import { describe, expect, test } from 'vitest'
import { GatewayError, TerminalError } from '../../src/errors.ts'
import { brokenOff, completed, contentOfResult, failed, spokenContent } from '../../src/execution/outcome.ts'

describe('what a handler returned', () => {
  test.each([
    [{ a: 1 }, '{"a":1}'],
    ['x', '"x"'],
    [0, '0'],
    [false, 'false'],
    ['', '""'],
    [null, 'null'],
    [undefined, 'null'],
    [Number.NaN, 'null'],
  ])('%s is recorded as %s', (value, resultJson) => {
    expect(completed(value, 1_000)).toMatchObject({ status: 'COMPLETED', resultJson })
  })

  test.each([
    [() => 1, /^the result of processCommand is invalid: JSON cannot carry a function/],
    [Symbol('s'), /JSON cannot carry a symbol/],
    [new Map([['a', 1]]), /JSON keeps nothing of a Map/],
    [new Set([1]), /JSON keeps nothing of a Set/],
    [new Error('returned'), /JSON keeps nothing of an Error/],
  ])('and JSON would lose without a word is a fault: %s', (value, message) => {
    expect(completed(value, 1_000)).toMatchObject({
      ...{ status: 'FAILED', fault: { code: 'GW_INVALID_ARGUMENT', message: expect.stringMatching(message) } },
    })
  })

  test('but not what says itself what becomes of it', () => {
    const error = Object.assign(new Error('returned'), { toJSON: () => 'told' })
    expect(completed(error, 1_000)).toMatchObject({ status: 'COMPLETED', resultJson: '"told"' })
  })

  test('and JSON cannot carry is a fault', () => {
    expect(completed({ n: 1n }, 1_000)).toMatchObject({ status: 'FAILED', fault: { code: 'GW_INVALID_ARGUMENT' } })
  })

  test('is bounded in bytes', () => {
    expect(completed('x'.repeat(98), 100)).toMatchObject({ status: 'COMPLETED' })
    expect(completed('x'.repeat(99), 100)).toMatchObject({ status: 'FAILED', fault: { code: 'GW_PAYLOAD_TOO_LARGE' } })
    expect(completed('ü'.repeat(49), 100)).toMatchObject({ status: 'COMPLETED' })
    expect(completed('ü'.repeat(50), 100)).toMatchObject({
      fault: { code: 'GW_PAYLOAD_TOO_LARGE', message: 'the result of processCommand has 102 bytes, the limit is 100' },
    })
  })
})

describe('what is kept of a result as what was said', () => {
  const date = new Date(0)
  test.each([
    ['words', 'words'],
    [{ content: 'words', more: 1 }, 'words'],
    [7, '7'],
    [false, 'false'],
    [date, date.toJSON()],
    [Object(5), '5'],
    [undefined, ''],
    [null, ''],
    [Number.NaN, ''],
    [{ toJSON: () => undefined }, ''],
    [{ toJSON: () => 'words' }, 'words'],
  ])('of %s: %j', (value, said) => {
    expect(spokenContent(completed(value, 1_000), '')).toBe(said)
  })

  test('of what is rich all of it, and of none what was streamed', () => {
    const rich = [{ a: 1 }]
    expect(spokenContent(completed(rich, 1_000), '')).toBe(rich)
    expect(spokenContent(completed(rich, 1_000), 'streamed')).toBe('streamed')
  })
})

describe('what a handler threw', () => {
  test('is cut off where its text is long', () => {
    const { fault } = failed(new Error('x'.repeat(5_000_000)))
    expect(fault.message).toBe(`${'x'.repeat(16_384)}…`)
  })

  test.each([
    [new Error('boom'), 'GW_TASK_FAILED', 'boom'],
    [new TerminalError('never'), 'GW_TASK_FAILED', 'never'],
    ['text', 'GW_TASK_FAILED', 'text'],
    [undefined, 'GW_TASK_FAILED', 'undefined'],
    [new GatewayError('GW_TASK_TIMEOUT', { timeoutMs: 5 }), 'GW_TASK_TIMEOUT', 'the attempt took longer than 5 ms'],
  ])('%s is a fault', (thrown, code, message) => {
    expect(failed(thrown)).toEqual({ status: 'FAILED', fault: { code, message }, cause: thrown })
  })

  test('is a fault also if it is what an abort of ours would say: only the abort itself is one', () => {
    const thrown = new GatewayError('GW_SHUTDOWN', { workerId: 'w' })
    expect(failed(thrown)).toMatchObject({ status: 'FAILED', fault: { code: 'GW_SHUTDOWN' }, cause: thrown })
  })
})

describe('an attempt that was broken off', () => {
  test.each([
    new GatewayError('GW_LEASE_LOST', { messageId: 'm', holder: 'x' }),
    new GatewayError('GW_SHUTDOWN', { workerId: 'w' }),
  ])('by $code has no end: somebody else will write it', (reason) => {
    expect(brokenOff(reason)).toEqual({ status: 'RELINQUISHED', reason })
  })

  test('by the clock failed', () => {
    const reason = new GatewayError('GW_TASK_TIMEOUT', { timeoutMs: 5 })
    expect(brokenOff(reason)).toMatchObject({ status: 'FAILED', fault: { code: 'GW_TASK_TIMEOUT' }, cause: reason })
  })
})

test.each([
  ['text', 'streamed', 'text'],
  ['', 'streamed', ''],
  [{ content: 'words' }, 'streamed', 'words'],
  [{ content: 7 }, 'streamed', 'streamed'],
  [{ other: 1 }, 'streamed', 'streamed'],
  [null, 'streamed', 'streamed'],
  [7, '', ''],
  [['a'], 'streamed', 'streamed'],
])('the words of %j, with %j streamed, are %j', (result, streamed, content) => {
  expect(contentOfResult(result, streamed)).toBe(content)
})
