import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { GatewayError } from '../../src/errors.ts'
import { capabilityFault, checkCapability, checkId, idFault, newMessageId, newTraceId } from '../../src/protocol/ids.ts'

describe('capabilities', () => {
  test.each(['a', 'weather_agent', 'A-1.b_2', 'x'.repeat(128)])('%s is one', (name) => {
    expect(capabilityFault(name)).toBeNull()
    expect(checkCapability('capability', name)).toBe(name)
  })

  test.each([['', 'x'.repeat(129), 'a b', 'a:b', 'ä', 'a{b}', 'a\n', '*', undefined, null, 7, {}]].flat())(
    '%j is none',
    (name) => expect(capabilityFault(name)).toMatch(/letters, digits/),
  )

  test('the name of the workers’ own streams is reserved', () => {
    expect(capabilityFault('worker')).toMatch(/reserved/)
    expect(capabilityFault('worker_2')).toBeNull()
  })
})

describe('ids', () => {
  test.each(['1', 'msg-1', 'user@example.com/7', 'ü-漢字-😀', 'a:b', '\\', '*?[', 'x'.repeat(256)])(
    '%s is one',
    (id) => {
      expect(idFault(id)).toBeNull()
    },
  )

  test.each(
    [
      ['', 'x'.repeat(257), 'a b', 'a\tb', 'a\nb', 'a{b', 'a}b', 'a\u0000b', '\u200B', '\u00A0', undefined, null, 1],
    ].flat(),
  )('%j is none', (id) => expect(idFault(id)).toMatch(/printable characters/))

  test('a refusal names the field and shows the value', () => {
    expect(() => checkId('sessionId', 'a b')).toThrow(
      new GatewayError('GW_INVALID_ARGUMENT', { field: 'sessionId', value: 'a b', reason: idFault('') }),
    )
    expect(() => checkId('sessionId', 'a b')).toThrow(/^sessionId is invalid: .*"a b"/)
    expect(() => checkCapability('targetAgentType', 'a b')).toThrow(/^targetAgentType is invalid/)
  })

  // fast-check's own unit of any code point takes seconds to set up.
  const codePoint = fc
    .oneof(fc.integer({ max: 0xff, min: 0 }), fc.integer({ max: 0x10ffff, min: 0 }))
    .map((code) => String.fromCodePoint(code))

  test('whatever passes holds no brace, no space and no control character', () => {
    fc.assert(
      fc.property(fc.string({ unit: codePoint, maxLength: 3 }), (id) => {
        if (idFault(id) !== null) return
        expect(id).not.toMatch(/[{}\s\p{C}]/u)
        expect(id.length).toBeGreaterThan(0)
      }),
      { numRuns: 2_000 },
    )
  })
})

test('new message ids sort as they were made, however many in a ms, and tell the time', () => {
  const before = Date.now()
  const ids = Array.from({ length: 20_000 }, newMessageId)
  expect([...ids].sort()).toEqual(ids)
  const made = Number.parseInt((ids[0] as string).slice(4).replaceAll('-', '').slice(0, 12), 16)
  expect(made).toBeGreaterThanOrEqual(before)
  for (const id of ids) expect(id).toMatch(/^msg-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})

describe('also of a clock', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  test('that stands still, or is set back', () => {
    const clock = vi.spyOn(Date, 'now')
    const start = Date.now()
    const ids = [60_000, 60_000, 0].flatMap((ms) => {
      clock.mockReturnValue(start + ms)
      return Array.from({ length: 5_000 }, newMessageId)
    })
    expect([...ids].sort()).toEqual(ids)
    expect(ids.filter((id) => !/^msg-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]/.test(id))).toEqual([])
  })
})

test('new ids are valid and never the same', () => {
  const messages = Array.from({ length: 1000 }, newMessageId)
  expect(new Set(messages).size).toBe(1000)
  expect(messages.filter((id) => idFault(id) !== null)).toEqual([])
  const traces = Array.from({ length: 1000 }, newTraceId)
  expect(new Set(traces).size).toBe(1000)
  expect(traces.filter((id) => !/^[0-9a-f]{32}$/.test(id))).toEqual([])
})
