import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compareEntryIds, entryField, idBefore, isEntryId, parseEntry } from '../../src/redis/streams.ts'

test('entries are read by field name; one that was deleted has none', () => {
  expect(parseEntry(['1-0', ['a', '1', 'b', '2']])).toEqual({
    id: '1-0',
    fields: new Map([
      ['a', '1'],
      ['b', '2'],
    ]),
  })
  expect(parseEntry(['1-0', null])).toEqual({ id: '1-0', fields: new Map() })
  expect(entryField(['1-0', ['data', 'x', 'y', 'data']], 'data')).toBe('x')
  expect(entryField(['1-0', ['y', 'data', 'data', 'z']], 'data')).toBe('z')
  expect(entryField(['1-0', ['y', '']], 'y')).toBe('')
  expect(entryField(['1-0', ['a', 'b']], 'data')).toBeUndefined()
  expect(entryField(['1-0', null], 'data')).toBeUndefined()
})

test('ids are ordered by number, not by text', () => {
  const sorted = ['0-0', '0-1', '9-0', '9-9', '9-10', '10-0', '1700000000000-0', '1700000000000-12']
  const id = fc.constantFrom(...sorted)
  fc.assert(
    fc.property(id, id, (a, b) => {
      expect(Math.sign(compareEntryIds(a, b))).toBe(Math.sign(sorted.indexOf(a) - sorted.indexOf(b)))
    }),
  )
  expect(compareEntryIds('5', '5-0')).toBe(0)
  expect(compareEntryIds('5', '5-1')).toBeLessThan(0)
})

test('right before an id lies one that is an id, too', () => {
  expect(idBefore('5-7')).toBe('5-6')
  expect(idBefore('1700000000000-1')).toBe('1700000000000-0')
  const before = idBefore('1700000000000-0')
  expect(isEntryId(before)).toBe(true)
  expect(compareEntryIds(before, '1700000000000-0')).toBeLessThan(0)
  expect(compareEntryIds(before, '1699999999999-4096')).toBeGreaterThan(0)
})

test('what is an id', () => {
  expect(['0', '1700000000000', '1700000000000-0', '0-1'].map(isEntryId)).toEqual([true, true, true, true])
  expect(['', '-', '1-', '-1', '$', '>', '1-2-3', 'a', '1 ', '1\n'].filter(isEntryId)).toEqual([])
})
