import { Writable } from 'node:stream'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { isReadable, loggable } from '../../src/util/loggable.ts'

const hidden = (error: Error, key: string) =>
  Object.defineProperty(error, key, {
    enumerable: true,
    get() {
      throw new Error('do not look')
    },
  })

const unreadable: [string, unknown][] = [
  ['its message', hidden(new Error('x'), 'message')],
  ['its stack', hidden(new Error('x'), 'stack')],
  ['a member', hidden(new Error('x'), 'request')],
  ['its cause', hidden(new Error('x'), 'cause')],
  ['what its cause has', new Error('x', { cause: hidden(new Error('y'), 'message') })],
  ['no error, but a revoked proxy', revoked()],
]

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

function circle(): Error {
  const error: Error & { self?: Error } = new Error('round')
  error.self = error
  error.cause = error
  return error
}

test.each(unreadable)('what throws when a log looks at %s is told by its text', (_what, thrown) => {
  const lines: string[] = []
  const logger = pino(new Writable({ write: (chunk, _encoding, done) => done(void lines.push(String(chunk))) }))
  expect(() => logger.error({ err: thrown }, 'as it is')).toThrow()
  expect(isReadable(thrown)).toBe(false)
  logger.error({ err: loggable(thrown) }, 'told')
  expect(lines.filter((line) => line.includes('told'))).toHaveLength(1)
})

test.each([new Error('boom'), circle(), new AggregateError([1n], 'all'), 'text', undefined, null, 7n, Symbol('s'), {}])(
  'all else is told as it is: %o',
  (thrown) => {
    expect(loggable(thrown)).toBe(thrown)
  },
)

test('a text longer than any line should be is cut off', () => {
  expect(loggable(new TypeError('x'.repeat(5_000_000)))).toMatchObject({ message: `${'x'.repeat(16_384)}…` })
})
