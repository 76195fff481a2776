import { expect, test } from 'vitest'
import { Recent } from '../../src/util/recent.ts'

const LEAST = 3

test('has the last so many, and never more than twice as many', () => {
  const recent = new Recent<number>(LEAST)
  for (let count = 1; count <= 50; count += 1) {
    recent.set(`${count}`, count)
    const held = Array.from({ length: count }, (_, i) => count - i)
    const newest = held.slice(0, LEAST)
    expect(newest.map((key) => recent.get(`${key}`))).toEqual(newest)
  }
  const left = Array.from({ length: 50 }, (_, i) => recent.get(`${i + 1}`)).filter((value) => value !== undefined)
  expect(left.length).toBeLessThanOrEqual(2 * LEAST)
})

test('what is asked for stays', () => {
  const recent = new Recent<string>(LEAST)
  recent.set('kept', 'value')
  for (let count = 0; count < 50; count += 1) {
    recent.set(`${count}`, '')
    expect(recent.get('kept')).toBe('value')
  }
  expect(recent.get('0')).toBeUndefined()
})
