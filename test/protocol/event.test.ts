import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeEvent, type EventBody, eventEncoder } from '../../src/protocol/event.ts'
import { MessageHeader } from '../../src/protocol/header.ts'
import samples from './fixtures/wire-samples.json' with { type: 'json' }

const KEYS = [
  ...['trace_id', 'session_id', 'event_type', 'source_agent_type', 'message_id', 'parent_message_id', 'timestamp'],
  ...['data', 'state_msg', 'artifact_url', 'metadata'],
]
const header = new MessageHeader({
  ...{ messageId: 'm-1', sessionId: 's-1', traceId: 't-1', parentMessageId: 'p-1' },
  ...{ sourceAgentType: 'caller', targetAgentType: 'elsewhere' },
})
const encode = eventEncoder(header, 'weather')

const bodies: EventBody[] = [
  { type: 'chunk', content: 'Hello "world"\n' },
  { type: 'chunk', content: 'hm', role: 'tool' },
  { type: 'state', state: 'thinking' },
  { type: 'state', state: 'thinking', detail: { step: 2 } },
  { type: 'data', data: { any: ['thing', null] } },
  { type: 'data', data: null },
  { type: 'data', data: 0 },
  { type: 'artifact', artifact: { name: 'a.json', url: 'https://x/a.json', mimeType: 'application/json', bytes: 7 } },
  { type: 'artifact', artifact: { name: 'b.txt', content: 'small', metadata: { a: 1 } } },
  { type: 'ask_user', askId: 'ask-1', prompt: 'Which?', schema: { type: 'string' }, options: ['a', 'b'] },
  { type: 'rewind', toId: '1-2' },
  { type: 'error', code: 'GW_TASK_FAILED', message: 'boom', retrying: true },
  { type: 'error', code: 'GW_TASK_FAILED', message: 'boom', retrying: false },
  { type: 'done', status: 'COMPLETED', result: { answer: 42 } },
  { type: 'done', status: 'COMPLETED', result: null },
  { type: 'done', status: 'FAILED', error: { code: 'GW_POISON', message: 'no' } },
  { type: 'done', status: 'CANCELLED' },
  { type: 'done', status: 'EXPIRED' },
]

test.each(bodies)('$type: exactly the eleven keys, all present: %j', (body) => {
  const wire = JSON.parse(encode(body, 3, { lang: 'de' }))
  expect(Object.keys(wire).sort()).toEqual([...KEYS].sort())
  expect(wire).toMatchObject({
    ...{ trace_id: 't-1', session_id: 's-1', message_id: 'm-1', parent_message_id: 'p-1' },
    ...{ source_agent_type: 'weather', event_type: body.type, metadata: { lang: 'de', attempt: 3 } },
    timestamp: expect.any(Number),
  })
  expect(Number.isInteger(wire.timestamp)).toBe(true)
})

test.each(bodies)('$type comes back as it was: %j', (body) => {
  expect(decodeEvent('5-0', encode(body, 2))).toEqual({
    ...{ id: '5-0', sessionId: 's-1', messageId: 'm-1', parentMessageId: 'p-1', agentType: 'weather', traceId: 't-1' },
    ...{ attempt: 2, timestamp: expect.any(Number), metadata: { attempt: 2 } },
    ...body,
  })
})

test('inside data everything is snake_case, and the plain text of states and artifacts is repeated', () => {
  const wireOf = (body: EventBody) => JSON.parse(encode(body, 1))
  expect(wireOf({ type: 'state', state: 'thinking' })).toMatchObject({ state_msg: 'thinking', artifact_url: '' })
  const artifact = wireOf({ type: 'artifact', artifact: { name: 'a', url: 'https://x', mimeType: 'text/plain' } })
  expect(artifact).toMatchObject({ state_msg: '', artifact_url: 'https://x' })
  expect(artifact.data).toEqual({ name: 'a', url: 'https://x', mime_type: 'text/plain' })
  expect(wireOf({ type: 'artifact', artifact: { name: 'a' } }).artifact_url).toBe('')
  expect(wireOf({ type: 'ask_user', askId: 'a', prompt: 'b' }).data).toEqual({ ask_id: 'a', prompt: 'b' })
  expect(wireOf({ type: 'rewind', toId: '0-0' }).data).toEqual({ to_id: '0-0' })
  expect(wireOf({ type: 'chunk', content: 'x' })).toMatchObject({
    data: { content: 'x' },
    state_msg: '',
    artifact_url: '',
  })
})

test('any text and any JSON comes back', () => {
  const text = fc.string({ unit: 'binary' })
  fc.assert(
    fc.property(text, fc.jsonValue(), text, (content, data, state) => {
      const back = (body: EventBody) => decodeEvent('1-1', encode(body, 1))
      expect(back({ type: 'chunk', content })).toMatchObject({ type: 'chunk', content })
      expect(back({ type: 'state', state })).toMatchObject({ type: 'state', state })
      expect(back({ type: 'data', data })).toMatchObject({ data: JSON.parse(JSON.stringify(data)) })
      expect(back({ type: 'done', status: 'COMPLETED', result: data })).toMatchObject({
        result: JSON.parse(JSON.stringify(data)),
      })
    }),
  )
})

test('an encoded event has no line break, so that a push can be split by lines', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (content) => {
      expect(encode({ type: 'chunk', content }, 1, { content })).not.toMatch(/[\n\r]/)
    }),
  )
})

test('a metadata of the caller’s cannot forge the attempt', () => {
  expect(decodeEvent('1-1', encode({ type: 'chunk', content: 'x' }, 4, { attempt: 99 }))).toMatchObject({ attempt: 4 })
})

test.each([[() => 1], [Symbol('s')], [{ toJSON: () => undefined }]])(
  'what JSON leaves out (%s) is written as nothing',
  (left) => {
    const wire = JSON.parse(encode({ type: 'data', data: left }, 1))
    expect(wire.data).toBeNull()
    const named = encode({ type: 'artifact', artifact: { name: 'a', url: left as never } }, 1)
    expect(JSON.parse(named)).toMatchObject({ data: { name: 'a' }, artifact_url: '' })
  },
)

test('what JSON cannot carry is refused', () => {
  const cyclic: Record<string, unknown> = {}
  cyclic.self = cyclic
  expect(() => encode({ type: 'data', data: cyclic }, 1)).toThrow(TypeError)
  expect(() => encode({ type: 'data', data: 1n }, 1)).toThrow(TypeError)
  expect(() => encode({ type: 'chunk', content: 'x' }, 1, cyclic)).toThrow(TypeError)
})

describe('an entry of another writer', () => {
  const nobody = {
    ...{ sessionId: '', messageId: '', parentMessageId: '', agentType: '', traceId: '' },
    ...{ attempt: 0, timestamp: 0, metadata: {} },
  }

  test.each(samples.events.map(({ sdk, value }, index) => ({ title: `${sdk} ${value.event_type} ${index}`, value })))(
    '$title of an older SDK is handed on as data, with its origin',
    ({ value }) => {
      expect(decodeEvent('7-1', JSON.stringify(value))).toEqual({
        ...{ id: '7-1', type: 'data', data: value },
        ...{ sessionId: value.session_id, messageId: value.message_id, parentMessageId: value.parent_message_id },
        ...{ agentType: value.source_agent_type, traceId: value.trace_id, timestamp: value.timestamp },
        ...{ attempt: 0, metadata: value.metadata },
      })
    },
  )

  test.each([
    ['hello', 'hello'],
    ['{"a":1}', { a: 1 }],
    ['[1,2]', [1, 2]],
    ['null', null],
    ['7', 7],
    ['', ''],
    ['{"event_type":"dance","data":{}}', { event_type: 'dance', data: {} }],
    ['{"event_type":"chunk","data":"text"}', { event_type: 'chunk', data: 'text' }],
    ['{"event_type":"constructor","data":{}}', { event_type: 'constructor', data: {} }],
  ])('%s is data', (text, data) => {
    expect(decodeEvent('7-1', text)).toEqual({ ...nobody, id: '7-1', type: 'data', data })
  })

  test('one without the field is data too', () => {
    expect(decodeEvent('7-1', undefined)).toEqual({ ...nobody, id: '7-1', type: 'data', data: null })
  })

  test('fields of a wrong type are as good as none', () => {
    const text = JSON.stringify({
      ...{ event_type: 'chunk', data: { content: 7, role: 8 }, session_id: 1, message_id: null, timestamp: 'now' },
      ...{ metadata: [], source_agent_type: {} },
    })
    expect(decodeEvent('7-1', text)).toEqual({ ...nobody, id: '7-1', type: 'chunk', content: '' })
  })

  test('what stands in its data never takes the place of the origin', () => {
    const forged = { id: '9999-0', type: 'chunk', sessionId: 'other', messageId: 'other', attempt: 99, timestamp: 1 }
    for (const type of ['chunk', 'state', 'data', 'artifact', 'ask_user', 'rewind', 'error', 'done']) {
      const text = JSON.stringify({
        event_type: type,
        session_id: 's',
        message_id: 'm',
        data: { ...forged, status: 'COMPLETED' },
      })
      expect(decodeEvent('7-1', text)).toMatchObject({
        ...{ id: '7-1', type, sessionId: 's', messageId: 'm', attempt: 0, timestamp: 0 },
      })
    }
  })

  test('nothing that can stand there makes it throw', () => {
    const types = ['chunk', 'state', 'data', 'artifact', 'ask_user', 'rewind', 'error', 'done']
    const wire = fc.record({ event_type: fc.constantFrom(...types), data: fc.jsonValue(), metadata: fc.jsonValue() })
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.json(),
          wire.map((value) => JSON.stringify(value)),
        ),
        (text) => {
          expect(decodeEvent('7-1', text).id).toBe('7-1')
        },
      ),
    )
  })
})
