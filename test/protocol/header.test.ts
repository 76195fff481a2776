import { expect, test } from 'vitest'
import { headerFromWire, headerToWire, MessageHeader } from '../../src/protocol/header.ts'

const KEYS = [
  'message_id',
  'session_id',
  'trace_id',
  'source_agent_type',
  'target_agent_type',
  'parent_message_id',
  'task_group_id',
  'user_code',
  'user_name',
  'metadata',
  'trace_parent_span_id',
  'langfuse_parent_observation_id',
]
const ids = { message_id: 'm-1', session_id: 's-1', trace_id: 't-1' }

test('a header made by hand needs a session only: its ids are new ones, and stay', () => {
  const [one, other] = [new MessageHeader({ sessionId: 's' }), new MessageHeader({ sessionId: 's' })]
  expect(one).toMatchObject({ messageId: expect.stringMatching(/^msg-[\w-]{36}$/), sessionId: 's' })
  expect(one.traceId).toMatch(/^[0-9a-f]{32}$/)
  expect([one.messageId === other.messageId, one.traceId === other.traceId]).toEqual([false, false])
  expect(headerFromWire(headerToWire(one))).toEqual(one)
})

test('all twelve keys are on the wire, whatever was given', () => {
  const header = new MessageHeader({ messageId: 'm', sessionId: 's', traceId: 't' })
  const wire = headerToWire(header)
  expect(Object.keys(wire)).toEqual(KEYS)
  expect(wire).toMatchObject({ message_id: 'm', session_id: 's', trace_id: 't', metadata: {} })
  const texts = Object.entries(wire).filter(
    ([key]) => !['message_id', 'session_id', 'trace_id', 'metadata'].includes(key),
  )
  expect(texts.map(([, value]) => value)).toEqual(Array.from({ length: 8 }, () => ''))
})

test('each field goes to its own key and comes back', () => {
  const init = {
    messageId: 'a',
    sessionId: 'b',
    traceId: 'c',
    sourceAgentType: 'd',
    targetAgentType: 'e',
    parentMessageId: 'f',
    taskGroupId: 'g',
    userCode: 'h',
    userName: 'i',
    metadata: { j: 1 },
    traceParentSpanId: 'k',
    langfuseParentObservationId: 'l',
  }
  const wire = headerToWire(new MessageHeader(init))
  expect(Object.values(wire)).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', { j: 1 }, 'k', 'l'])
  expect({ ...headerFromWire(wire) }).toEqual(init)
})

test('the three required keys are enough', () => {
  const header = headerFromWire(ids)
  expect(header).toBeInstanceOf(MessageHeader)
  expect(header).toEqual(new MessageHeader({ messageId: 'm-1', sessionId: 's-1', traceId: 't-1' }))
})

test('keys that a later version may add are no fault', () => {
  expect(headerFromWire({ ...ids, tenant_id: 'x' })).toBeInstanceOf(MessageHeader)
})

test('the first spelling of the source is understood', () => {
  expect(headerFromWire({ ...ids, source_agent_id: 'old' })).toMatchObject({ sourceAgentType: 'old' })
  expect(headerFromWire({ ...ids, source_agent_id: 'old', source_agent_type: 'new' })).toMatchObject({
    sourceAgentType: 'new',
  })
})

test.each([
  ['message_id', undefined],
  ['message_id', ''],
  ['message_id', 'with space'],
  ['message_id', 'with{brace'],
  ['message_id', 'x'.repeat(257)],
  ['message_id', 7],
  ['session_id', undefined],
  ['session_id', '}'],
  ['trace_id', undefined],
  ['trace_id', ''],
  ['user_code', 7],
  ['metadata', []],
  ['metadata', 'text'],
])('a bad %s (%j) is a fault that names its path', (key, value) => {
  expect(headerFromWire({ ...ids, [key]: value })).toMatchObject({ fault: expect.stringMatching(`^header\\.${key}: `) })
})

test.each([[undefined], [null], ['text'], [[]], [1]])('%j is no header', (value) => {
  expect(headerFromWire(value)).toEqual({ fault: expect.stringMatching(/^header: /) })
})
