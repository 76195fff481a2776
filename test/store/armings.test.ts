import { expect, test } from 'vitest'
import { Armings } from '../../src/store/armings.ts'

function setUp(chance: number) {
  const time = { now: 5 }
  return { time, armings: new Armings(40, { chance: () => chance, clock: () => time.now }) }
}

test('a session is due once in a period', () => {
  const { armings, time } = setUp(1)
  expect([armings.due('a'), armings.due('a'), armings.due('b'), armings.due('b')]).toEqual(['arm', 'no', 'arm', 'no'])
  time.now = 44
  expect(armings.due('a')).toBe('no')
})

test('what goes on from period to period is swept each time, what begins anew only now and then', () => {
  const { armings, time } = setUp(1)
  expect(armings.due('a')).toBe('arm')
  time.now = 46
  expect([armings.due('a'), armings.due('b')]).toEqual(['sweep', 'arm'])
  time.now = 200
  expect(armings.due('a')).toBe('arm')
  expect(setUp(0.06).armings.due('a')).toBe('sweep')
})
