import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeCommand, encodeCommand } from '../../src/protocol/codec.ts'
import { AskAgentCommand } from '../../src/protocol/command.ts'
import type { TaskOptions } from '../../src/protocol/task-options.ts'

const header = { messageId: 'm', sessionId: 's', traceId: 't' }
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
const delayMs = fc.double({ min: 0, max: 31_536_000_000, noNaN: true, noDefaultInfinity: true }).map((ms) => ms + 0)
const jitter = maybe(fc.double({ min: 0, max: 1, noNaN: true }).map((part) => part + 0))
const backoff = fc.oneof(
  fc.record({ type: fc.constant('fixed' as const), delayMs, jitter }),
  fc.record({ type: fc.constant('exponential' as const), delayMs, maxDelayMs: maybe(delayMs), jitter }),
)
const options: fc.Arbitrary<TaskOptions> = fc.record({
  timeoutMs: maybe(fc.integer({ min: 1, max: 2 ** 31 - 1 })),
  expiresInMs: maybe(fc.double({ min: 1, max: 31_536_000_000, noNaN: true })),
  retry: maybe(fc.record({ maxAttempts: maybe(fc.integer({ min: 1, max: 1_000 })), backoff: maybe(backoff) })),
})
const metadata = fc.dictionary(
  fc.string().filter((key) => key !== 'gateway_options' && key !== '__proto__'),
  fc.oneof(fc.string(), fc.integer(), fc.boolean()),
)

/** The header as its reader gets it. */
function travel(init: ConstructorParameters<typeof AskAgentCommand>[0]['header']) {
  const decoded = decodeCommand(encodeCommand(new AskAgentCommand({ header: init, content: 'x' })), 1_000_000)
  if (!decoded.ok) throw new Error(decoded.detail)
  return decoded.command.header
}
/** What is made of a document whose metadata holds these options. */
function decode(given: unknown) {
  const wire = { message_id: 'm', session_id: 's', trace_id: 't', metadata: { own: 1, gateway_options: given } }
  return decodeCommand(JSON.stringify({ action_type: 'ASK_AGENT', header: wire, body: { content: 'x' } }), 1_000_000)
}

describe('the options of a task', () => {
  test('arrive as they were sent, and the metadata beside them is not touched', () => {
    fc.assert(
      fc.property(options, metadata, (given, own) => {
        const arrived = travel({ ...header, options: given, metadata: own })
        expect(arrived.options).toEqual(given)
        expect(arrived.metadata).toEqual(own)
      }),
    )
  })

  test('that were not given leave no trace on the wire', () => {
    const text = encodeCommand(new AskAgentCommand({ header: { ...header, metadata: { own: 1 } }, content: 'x' }))
    expect(JSON.parse(text).header.metadata).toEqual({ own: 1 })
    expect(travel({ ...header, metadata: { own: 1 } }).options).toBeUndefined()
  })

  test('stand under one key, in the spelling of the wire', () => {
    const retry = { maxAttempts: 2, backoff: { type: 'exponential' as const, delayMs: 5, maxDelayMs: 6, jitter: 0 } }
    const command = new AskAgentCommand({
      header: { ...header, options: { timeoutMs: 3, expiresInMs: 4, retry } },
      content: 'x',
    })
    expect(JSON.parse(encodeCommand(command)).header.metadata).toEqual({
      gateway_options: {
        ...{ timeout_ms: 3, expires_in_ms: 4 },
        retry: { max_attempts: 2, backoff: { type: 'exponential', delay_ms: 5, max_delay_ms: 6, jitter: 0 } },
      },
    })
  })

  test('of a later release are read as far as they are known', () => {
    const decoded = decode({ timeout_ms: 5, colour: 'red' })
    expect(decoded.ok && decoded.command.header.options).toMatchObject({ timeoutMs: 5 })
  })

  test.each([
    [null, 'header.metadata.gateway_options: '],
    ['fast', 'header.metadata.gateway_options: '],
    [{ timeout_ms: 0 }, 'header.metadata.gateway_options.timeout_ms: '],
    [{ timeout_ms: 2 ** 31 }, 'header.metadata.gateway_options.timeout_ms: '],
    [{ expires_in_ms: 'soon' }, 'header.metadata.gateway_options.expires_in_ms: '],
    [{ expires_in_ms: 1e12 }, 'header.metadata.gateway_options.expires_in_ms: '],
    [{ retry: { max_attempts: 0 } }, 'header.metadata.gateway_options.retry.max_attempts: '],
    [{ retry: { max_attempts: 1.5 } }, 'header.metadata.gateway_options.retry.max_attempts: '],
    [{ retry: { backoff: { type: 'magic', delay_ms: 1 } } }, 'header.metadata.gateway_options.retry.backoff.type: '],
    [{ retry: { backoff: { type: 'fixed' } } }, 'header.metadata.gateway_options.retry.backoff.delay_ms: '],
    [
      { retry: { backoff: { type: 'fixed', delay_ms: 1, jitter: 2 } } },
      'header.metadata.gateway_options.retry.backoff.jitter: ',
    ],
  ])('%j are poison, and the path is told', (given, path) => {
    const decoded = decode(given)
    expect(decoded).toMatchObject({ ok: false, reason: 'bad-header', detail: expect.stringContaining(path) })
  })
})
