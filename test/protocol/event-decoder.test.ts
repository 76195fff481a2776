import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type EventBody, eventEncoder } from '../../src/protocol/event.ts'
import { decodeEvent, EventDecoder } from '../../src/protocol/event-decoder.ts'
import { BODIES, header } from './events.ts'
import samples from './fixtures/wire-samples.json' with { type: 'json' }

const encode = eventEncoder(header, 'weather')

test.each(BODIES)('$type comes back as it was: %j', (body) => {
  expect(decodeEvent('5-0', encode(body, 2))).toEqual({
    ...{ id: '5-0', sessionId: 's-1', messageId: 'm-1', parentMessageId: 'p-1', agentType: 'weather', traceId: 't-1' },
    ...{ attempt: 2, timestamp: expect.any(Number), metadata: { attempt: 2 } },
    ...body,
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

  test.each([[null], [''], ['none'], [[]]])('a done whose error is %j has its result, and no error', (error) => {
    const data = { status: 'COMPLETED', result: { answer: 1 }, error }
    const text = JSON.stringify({ event_type: 'done', data })
    expect(decodeEvent('7-1', text)).toEqual({ ...nobody, id: '7-1', type: 'done', ...data, error: undefined })
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

describe('a run of events', () => {
  const other = eventEncoder({ ...header, messageId: 'm-2' }, 'news')
  const body = fc.oneof(
    fc.string({ unit: 'binary' }).map((content): EventBody => ({ type: 'chunk', content })),
    fc.jsonValue().map((data): EventBody => ({ type: 'data', data })),
    fc.constantFrom(...BODIES),
  )
  const about = fc.constantFrom(
    undefined,
    undefined,
    { step: 'a' },
    { deep: { a: 1 } },
    { ',"state_msg":': ',"timestamp":' },
  )
  const said = fc
    .tuple(fc.constantFrom(encode, encode, other), body, fc.constantFrom(1, 2), about)
    .map(([by, ...words]) => by(...words))
  const member = fc.constantFrom(
    ...['"timestamp":1', '"timestamp":"1"', '"data":{"content":"x"}', '"data":2', '"state_msg":""', '"session_id":"y"'],
    ...[
      '"metadata":{"attempt":1}',
      '"event_type":"chunk"',
      '"x":{"y":1,"timestamp":2,"data":3,"state_msg":""}',
      ' ',
      '}',
      '{',
    ],
  )
  const forged = fc.array(member, { maxLength: 8 }).map((members) => `{"trace_id":"t",${members.join(',')}}`)

  test('is read as each of them is by itself', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(said, said, forged), { minLength: 3, maxLength: 20 }), (texts) => {
        const decoder = new EventDecoder()
        for (const text of texts.flatMap((text) => [text, text]))
          expect(decoder.decode('7-1', text)).toEqual(decodeEvent('7-1', text))
      }),
      { numRuns: 2_000 },
    )
  })

  test.each([
    ['says another time in its data', (text: string) => text.replace('"data":', '"data":0,"timestamp":5,"data":')],
    ['names another session in its data', (text: string) => text.replace('"data":', '"session_id":"forged","data":')],
    ['has no data', (text: string) => text.replace(/"data":.*,"state_msg"/, '"state_msg"')],
    ['is cut', (text: string) => text.slice(0, -30)],
    ['has something behind it', (text: string) => `${text} {}`],
    ['is the frame alone', (text: string) => text.replace(/(?<="timestamp":).*(?=,"state_msg")/, '')],
    ['says a time that is none', (text: string) => text.replace(/"timestamp":\d+/, '"timestamp":0x17')],
  ])('one that %s is not taken for one of them', (_, change) => {
    const decoder = new EventDecoder()
    const text = encode({ type: 'chunk', content: 'a' }, 1)
    for (let round = 0; round < 3; round++) decoder.decode('7-1', text)
    expect(change(text)).not.toBe(text)
    expect(decoder.decode('7-2', change(text))).toEqual(decodeEvent('7-2', change(text)))
  })

  test('whose time and data are said to stand where they do not is read as each of them is by itself', () => {
    const decoder = new EventDecoder()
    const deeper = (time: number) =>
      `{"timestamp":0.25,"data":0.75,"event_type":"chunk","x":{"y":1,"timestamp":${time},"data":{"content":"x"},"state_msg":""}}`
    for (const text of [deeper(1), deeper(2), deeper(3)])
      expect(decoder.decode('7-1', text)).toEqual(decodeEvent('7-1', text))
  })

  test('shares nothing that a reader could change', () => {
    const decoder = new EventDecoder()
    const [, , third, fourth] = ['a', 'b', 'c', 'd'].map((content) =>
      decoder.decode('7-1', encode({ type: 'chunk', content }, 1, { lang: 'de' })),
    )
    if (third !== undefined) third.metadata.lang = 'en'
    expect(fourth?.metadata).toEqual({ lang: 'de', attempt: 1 })
  })
})
