import { describe, expect, test } from 'vitest'
import { fromThrown, toThrown } from '../../../src/context/durable/thrown.ts'
import {
  AgentCallError,
  GatewayError,
  PromptVariableError,
  RetryableError,
  TerminalError,
  ToolInputError,
} from '../../../src/errors.ts'

/** As it comes from the journal. */
const again = (error: unknown) => fromThrown(JSON.parse(JSON.stringify(toThrown(error))))

describe('what a step threw, read from its record,', () => {
  const called = { messageId: 'm-1', agentType: 'child' }
  test.each([
    new TerminalError('never'),
    new RetryableError('later', { delayMs: 7 }),
    new GatewayError('GW_PAYLOAD_TOO_LARGE', { field: 'x', bytes: 2, limit: 1 }),
    new ToolInputError('charge', 'cents: missing'),
    new PromptVariableError('greet', 'name', 'is missing'),
    new AgentCallError(called, 'EXPIRED', { code: 'GW_EXPIRED', message: 'late' }),
  ])('is of the same class, with all its members, where that is one of ours: $name', (error) => {
    const read = again(error) as Error
    expect(read).toBeInstanceOf(error.constructor)
    expect(read).toMatchObject({ ...error })
    expect(String(read)).toBe(String(error))
    expect(read.stack).toContain(error.message)
  })

  test('has the kind of ours that it was made from', () => {
    class Declined extends TerminalError {
      readonly card = { last4: '4242' }
    }
    const read = again(new Declined('no funds'))
    expect(read).toBeInstanceOf(TerminalError)
    expect(read).toMatchObject({ name: 'TerminalError', message: 'no funds', card: { last4: '4242' } })
  })

  test('has name, text, plain members and causes of any other, and nothing besides', () => {
    class HttpError extends Error {
      override readonly name = 'HttpError'
      readonly status = 429
      readonly config = { headers: { authorization: 'secret' } }
      readonly retry = () => undefined
    }
    const cause = new Error('reset', { cause: Object.assign(new Error('socket'), { code: 'ECONNRESET' }) })
    const error = new HttpError('busy', { cause })
    expect(JSON.stringify(toThrown(error))).not.toContain('secret')
    const read = again(error) as Error
    expect(read).toMatchObject({ name: 'HttpError', message: 'busy', status: 429 })
    expect(read.cause).toMatchObject({ message: 'reset', cause: { message: 'socket', code: 'ECONNRESET' } })
    expect(read).not.toHaveProperty('config')
    expect(String(read)).toBe('HttpError: busy')
  })

  test.each([['a text'], [42], [null], [{ reason: ['x'] }]])('is the same value where it is no error: %j', (value) => {
    expect(again(value)).toEqual(value)
  })

  test.each([
    ['a function', () => 1],
    ['what refers to itself', Object.assign([], { 0: [] as unknown[] })],
    ['undefined', undefined],
  ])('is something that can be thrown, also for %s', (_, value) => {
    expect(() => again(value)).not.toThrow()
  })

  test('is short, whatever it was, and bears what throws when it is looked at', () => {
    const endless: Error & { cause?: unknown } = new Error('x'.repeat(1_000_000))
    endless.cause = endless
    const many = Object.assign(endless, Object.fromEntries(Array.from({ length: 500 }, (_, at) => [`m${at}`, at])))
    expect(JSON.stringify(toThrown(many)).length).toBeLessThan(100_000)
    const trap = Object.defineProperty(new Error('trap'), 'status', {
      enumerable: true,
      get: () => {
        throw new Error('looked at')
      },
    })
    expect(again(trap)).toMatchObject({ name: 'Error', message: 'trap' })
  })
})
