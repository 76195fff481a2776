import { expect, test } from 'vitest'
import { normalizeRichContent } from '../../src/protocol/rich-content.ts'

const file = { fileId: 1, fileUrl: 'https://x/y.pdf', fileType: 'file', fileName: 'y.pdf' }

test('what is left out is filled in, what is there stays', () => {
  expect(
    normalizeRichContent([
      { role: 'user', content: { text: 'hi' } },
      { role: 'user', content: { files: [file] } },
      { role: 'system', content: {} },
      { role: 'system', content: { text: undefined, files: undefined, resources: undefined } },
    ]),
  ).toEqual([
    { role: 'user', content: { text: 'hi', files: [], resources: [] } },
    { role: 'user', content: { text: '', files: [file], resources: [] } },
    { role: 'system', content: { text: '', files: [], resources: [] } },
    { role: 'system', content: { text: '', files: [], resources: [] } },
  ])
})

test('plain text and further keys pass unchanged', () => {
  const messages = [
    { role: 'assistant', content: 'hello', name: 'Ann' },
    { role: 'user', content: { text: 'a', extra: 1 }, id: 7 },
  ]
  expect(normalizeRichContent(messages)).toEqual([
    messages[0],
    { role: 'user', content: { text: 'a', files: [], resources: [], extra: 1 }, id: 7 },
  ])
})

test('what is no message passes as it is', () => {
  const items = ['text', 1, null, { any: 'thing' }, ['x']]
  expect(normalizeRichContent(items)).toEqual(items)
})

test.each(['user', 'assistant', 'system', 'tool-call', 'tool-response', 'response-to-sub-agent'])(
  '%s is a role',
  (role) => {
    expect(normalizeRichContent([{ role, content: 'x' }])).toEqual([{ role, content: 'x' }])
  },
)

test('what is given is not changed', () => {
  const given = Object.freeze([Object.freeze({ role: 'user', content: Object.freeze({ text: 'a' }) })])
  normalizeRichContent(given)
  expect(given).toEqual([{ role: 'user', content: { text: 'a' } }])
})

test.each([
  [[{ role: 'boss', content: 'x' }], /^content\.0\.role is invalid.*"boss"/],
  [['ok', { content: 'x' }], /^content\.1\.role is invalid/],
  [[{ role: 'user' }], /^content\.0\.content is invalid/],
  [[{ role: 'user', content: 7 }], /^content\.0\.content is invalid/],
  [[{ role: 'user', content: ['x'] }], /^content\.0\.content is invalid/],
  [[{ role: 'user', content: { text: 7 } }], /^content\.0\.content\.text is invalid: must be a text \(got 7\)/],
  [['ok', { role: 'user', content: { files: 'a' } }], /^content\.1\.content\.files is invalid: must be an array/],
  [[{ role: 'user', content: { resources: {} } }], /^content\.0\.content\.resources is invalid: must be an array/],
])('%j is refused with its path', (content, message) => {
  expect(() => normalizeRichContent(content)).toThrow(message)
})
