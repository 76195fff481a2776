import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type EventBody, eventEncoder } from '../../src/protocol/event.ts'
import { BODIES, header } from './events.ts'

const KEYS = [
  ...['trace_id', 'session_id', 'event_type', 'source_agent_type', 'message_id', 'parent_message_id', 'timestamp'],
  ...['data', 'state_msg', 'artifact_url', 'metadata'],
]
const encode = eventEncoder(header, 'weather')

test.each(BODIES)('$type: exactly the eleven keys, all present: %j', (body) => {
  const wire = JSON.parse(encode(body, 3, { lang: 'de' }))
  expect(Object.keys(wire).sort()).toEqual([...KEYS].sort())
  expect(wire).toMatchObject({
    ...{ trace_id: 't-1', session_id: 's-1', message_id: 'm-1', parent_message_id: 'p-1' },
    ...{ source_agent_type: 'weather', event_type: body.type, metadata: { lang: 'de', attempt: 3 } },
    timestamp: expect.any(Number),
  })
  expect(Number.isInteger(wire.timestamp)).toBe(true)
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

test('an encoded event has no line break, so that a push can be split by lines', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (content) => {
      expect(encode({ type: 'chunk', content }, 1, { content })).not.toMatch(/[\n\r]/)
    }),
  )
})

test('a metadata of the caller’s cannot forge the attempt', () => {
  const wire = JSON.parse(encode({ type: 'chunk', content: 'x' }, 4, { attempt: 99 }))
  expect(wire.metadata).toEqual({ attempt: 4 })
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
