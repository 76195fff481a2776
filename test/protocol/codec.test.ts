import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeCommand, encodeCommand } from '../../src/protocol/codec.ts'
import {
  AskAgentCommand,
  CancelTaskCommand,
  type CommandContent,
  GatewayCommand,
  ResumeCommand,
  registerCommand,
} from '../../src/protocol/command.ts'
import { contentFault } from '../../src/protocol/content-fault.ts'
import type { MessageHeader, MessageHeaderInit } from '../../src/protocol/header.ts'
import { idFault } from '../../src/protocol/ids.ts'
import samples from './fixtures/wire-samples.json' with { type: 'json' }

const MAX = 1_048_576
const init = { messageId: 'm-1', sessionId: 's-1', traceId: 't-1' }
const wire = {
  action_type: 'ASK_AGENT',
  header: { message_id: 'm-1', session_id: 's-1', trace_id: 't-1' },
  body: { content: 'hi' },
}

const text = fc.string({ unit: 'binary', maxLength: 30 })
const id = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).filter((value) => idFault(value) === null)
const json = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<unknown>
// A key of this name is no data: JSON.parse makes a property of it, and copies lose it.
const object = fc.dictionary(
  text.filter((key) => key !== '__proto__'),
  json,
  { maxKeys: 5 },
)
const anyHeader: fc.Arbitrary<MessageHeaderInit> = fc.record(
  {
    messageId: id,
    sessionId: id,
    traceId: text.filter((value) => value !== ''),
    sourceAgentType: text,
    targetAgentType: text,
    parentMessageId: text,
    taskGroupId: text,
    userCode: text,
    userName: text,
    metadata: object,
    traceParentSpanId: text,
    langfuseParentObservationId: text,
  },
  { requiredKeys: ['messageId', 'sessionId', 'traceId'] },
)
const anyContent = fc.oneof(text, fc.array(json), object).filter((value) => contentFault(value) === null)

/** JSON knows no `-0` and no `undefined`. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

function roundTrip(command: GatewayCommand): GatewayCommand {
  const decoded = decodeCommand(encodeCommand(command), MAX)
  if (!decoded.ok) throw new Error(`${decoded.reason}: ${decoded.detail}`)
  return decoded.command
}

describe('what is encoded is decoded as it was', () => {
  test('ask: any header, any content, any payload', () => {
    fc.assert(
      fc.property(anyHeader, anyContent, fc.boolean(), object, (header, content, waitForReply, extraPayload) => {
        const sent = new AskAgentCommand({ header, content: content as CommandContent, waitForReply, extraPayload })
        const received = roundTrip(sent)
        expect(received).toBeInstanceOf(AskAgentCommand)
        expect(plain({ ...received })).toEqual(plain({ ...sent }))
      }),
    )
  })

  test('resume: any answer', () => {
    fc.assert(
      fc.property(anyHeader, text, json, object, (header, content, replyData, extraPayload) => {
        const sent = new ResumeCommand({ header, content, status: 'OK', replyData, extraPayload })
        const received = roundTrip(sent)
        expect(received).toBeInstanceOf(ResumeCommand)
        expect(plain({ ...received })).toEqual(plain({ ...sent }))
      }),
    )
  })

  test('cancel: any texts', () => {
    fc.assert(
      fc.property(
        anyHeader,
        id,
        text,
        text,
        fc.constantFrom('graceful' as const, 'force' as const),
        (header, targetMessageId, reason, requestedBy, cancelMode) => {
          const sent = new CancelTaskCommand({ header, targetMessageId, reason, requestedBy, cancelMode })
          expect(plain({ ...roundTrip(sent) })).toEqual(plain({ ...sent }))
        },
      ),
    )
  })
})

test('the envelope has its three keys, the header its twelve, and nothing more', () => {
  const envelope = JSON.parse(encodeCommand(new AskAgentCommand({ header: init, content: 'hi' })))
  expect(Object.keys(envelope)).toEqual(['action_type', 'header', 'body'])
  expect(Object.keys(envelope.header)).toHaveLength(12)
  expect(envelope).toEqual({
    action_type: 'ASK_AGENT',
    header: {
      message_id: 'm-1',
      session_id: 's-1',
      trace_id: 't-1',
      source_agent_type: '',
      target_agent_type: '',
      parent_message_id: '',
      task_group_id: '',
      user_code: '',
      user_name: '',
      metadata: {},
      trace_parent_span_id: '',
      langfuse_parent_observation_id: '',
    },
    body: { content: 'hi', wait_for_reply: false },
  })
})

describe('commands of the older SDKs', () => {
  const KNOWN = ['ASK_AGENT', 'RESUME', 'CANCEL_TASK']
  const named = samples.commands.map(({ sdk, value }, index) => ({
    title: `${sdk} ${value.action_type} ${index}`,
    value,
  }))

  test('there are some of each kind and language', () => {
    const kinds = new Set(samples.commands.map(({ sdk, value }) => `${sdk} ${value.action_type}`))
    expect([...kinds]).toEqual(
      expect.arrayContaining(['py ASK_AGENT', 'ts ASK_AGENT', 'py RESUME', 'ts RESUME', 'py CANCEL_TASK']),
    )
  })

  test.each(named.filter(({ value }) => KNOWN.includes(value.action_type)))('$title is understood', ({ value }) => {
    const decoded = decodeCommand(JSON.stringify(value), MAX)
    if (!decoded.ok) throw new Error(`${decoded.reason}: ${decoded.detail}`)
    // And we write what they wrote, key by key; only an empty payload may be left out.
    const again = JSON.parse(encodeCommand(decoded.command))
    expect(again.action_type).toBe(value.action_type)
    expect(again.header).toEqual(value.header)
    expect(again.body).toEqual(value.body)
  })

  test.each(named.filter(({ value }) => !KNOWN.includes(value.action_type)))(
    '$title is poison that says whose it is',
    ({ value }) => {
      expect(decodeCommand(JSON.stringify(value), MAX)).toEqual({
        ok: false,
        reason: 'unknown-action',
        detail: `action_type "${value.action_type}" is not known`,
        header: expect.objectContaining({ messageId: value.header.message_id, sessionId: value.header.session_id }),
      })
    },
  )
})

describe('poison', () => {
  const decode = (value: unknown) => decodeCommand(typeof value === 'string' ? value : JSON.stringify(value), MAX)

  test('an entry without the field', () => {
    expect(decodeCommand(undefined, MAX)).toMatchObject({ ok: false, reason: 'no-data-field' })
  })

  test.each(['', '{', 'hello', '{"a":1}}', "{'a':1}"])('bad JSON: %s', (data) => {
    const poison = decode(data)
    expect(poison).toMatchObject({ ok: false, reason: 'bad-json', detail: expect.stringMatching(/./) })
    expect(poison).not.toHaveProperty('header')
  })

  test.each(['null', '7', '"text"', '[]', 'true'])('no envelope: %s', (data) => {
    expect(decode(data)).toMatchObject({ ok: false, reason: 'no-envelope' })
  })

  test.each([
    [{}, 'header: '],
    [{ ...wire, header: null }, 'header: '],
    [{ ...wire, header: { ...wire.header, session_id: undefined } }, 'header.session_id: '],
    [{ ...wire, header: { ...wire.header, message_id: 'a b' } }, 'header.message_id: '],
  ])('bad header: %j', (envelope, path) => {
    const poison = decode(envelope)
    expect(poison).toMatchObject({ ok: false, reason: 'bad-header', detail: expect.stringContaining(path) })
    expect(poison).not.toHaveProperty('header')
  })

  test.each([
    [{ metadata: 'mine' }, 'header.metadata: '],
    [{ metadata: { gateway_options: 5 } }, 'header.metadata.gateway_options: '],
    [{ user_name: 7 }, 'header.user_name: '],
    [{ trace_id: '' }, 'header.trace_id: '],
  ])('bad header %j that says whose it is, with as much of it', (part, path) => {
    const header = { ...wire.header, parent_message_id: 'm-0', user_code: 'u', ...part }
    const { traceId } = { traceId: 'trace_id' in part ? expect.stringMatching(/^[0-9a-f]{32}$/) : 't-1' }
    expect(decode({ ...wire, header })).toMatchObject({
      ...{ ok: false, reason: 'bad-header', detail: expect.stringContaining(path) },
      header: { ...init, traceId, parentMessageId: 'm-0', userCode: 'u', metadata: {}, options: undefined },
    })
  })

  test.each([['DANCE'], [undefined], [7], [null], [''], ['ask_agent'], ['constructor']])(
    'unknown action %j, with its header',
    (action) => {
      expect(decode({ ...wire, action_type: action })).toMatchObject({
        ...{ ok: false, reason: 'unknown-action' },
        header: expect.objectContaining(init),
      })
    },
  )

  test.each([
    [undefined],
    [null],
    ['text'],
    [{}],
    [{ content: '' }],
    [{ content: ' ' }],
    [{ content: [] }],
    [{ content: 7 }],
    [{ content: 'x', wait_for_reply: 1 }],
  ])('bad body %j, with its header', (body) => {
    expect(decode({ ...wire, body })).toMatchObject({
      ...{ ok: false, reason: 'bad-body', detail: expect.stringMatching(/./) },
      header: expect.objectContaining(init),
    })
  })

  test('what a command of another’s own throws is a bad body too', () => {
    registerCommand(
      class Moody extends GatewayCommand {
        static readonly actionType = 'MOODY_OF_CODEC_TEST'
        override toBody() {
          return {}
        }
        static fromBody(_header: MessageHeader, body: Record<string, unknown>): Moody {
          throw new Error(`not today: ${body.day}`)
        }
      },
    )
    expect(decode({ ...wire, action_type: 'MOODY_OF_CODEC_TEST', body: { day: 'Monday' } })).toMatchObject({
      ...{ ok: false, reason: 'bad-body', detail: 'not today: Monday' },
      header: expect.objectContaining(init),
    })
  })

  test('too large: counted in bytes, not in characters', () => {
    const envelope = (content: string) => JSON.stringify({ ...wire, body: { content } })
    const limit = Buffer.byteLength(envelope('x'.repeat(100)))
    expect(decodeCommand(envelope('x'.repeat(100)), limit).ok).toBe(true)
    expect(decodeCommand(envelope('x'.repeat(101)), limit)).toMatchObject({ ok: false, reason: 'too-large' })
    // 50 of these have 100 characters (UTF-16) and 200 bytes; 25 have 100 bytes.
    expect(decodeCommand(envelope('😀'.repeat(25)), limit).ok).toBe(true)
    expect(decodeCommand(envelope('😀'.repeat(26)), limit)).toMatchObject({
      ...{ ok: false, reason: 'too-large' },
      detail: expect.stringContaining(`${limit + 4} bytes, the limit is ${limit}`),
    })
  })

  test('too large, with its header where it begins as it is written here', () => {
    fc.assert(
      fc.property(anyHeader, (header) => {
        const sent = new AskAgentCommand({ header, content: 'x'.repeat(1_000) })
        const poison = decodeCommand(encodeCommand(sent), 1_000)
        expect(poison).toMatchObject({
          ...{ ok: false, reason: 'too-large' },
          header: plain({ ...sent.header, metadata: {}, traceParentSpanId: '', langfuseParentObservationId: '' }),
        })
      }),
    )
    for (const data of [
      JSON.stringify({ body: { content: 'x'.repeat(100) }, header: wire.header }),
      JSON.stringify({ ...wire, header: { ...wire.header, message_id: 'a b', metadata: {} } }),
      `{"action_type":"ASK_AGENT","header":{"message_id":"m","session_id":"s","trace_id":"${'t'.repeat(100_000)}","x":"`,
    ]) {
      expect(decodeCommand(data, 50)).toEqual({ ok: false, reason: 'too-large', detail: expect.any(String) })
    }
  })

  test('nothing that can stand there makes it throw', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), (data) => {
        expect(typeof decodeCommand(data, MAX).ok).toBe('boolean')
      }),
    )
    const mutations = fc.record({ action_type: fc.oneof(fc.constant('ASK_AGENT'), json), header: json, body: json })
    fc.assert(
      fc.property(mutations, (envelope) => {
        expect(typeof decodeCommand(JSON.stringify(envelope), MAX).ok).toBe('boolean')
      }),
    )
  })
})
