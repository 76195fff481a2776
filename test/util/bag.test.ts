import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Bag, type Placed } from '../../src/util/bag.ts'

test('holds what was added and not removed, each at its place', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), (numbers) => {
      const bag = new Bag<Placed & { readonly number: number }>()
      const held = new Map<number, Placed & { readonly number: number }>()
      for (const number of numbers) {
        const known = held.get(number)
        if (known === undefined) {
          const item = { number, place: -1 }
          held.set(number, item)
          bag.add(item)
        } else {
          held.delete(number)
          bag.delete(known)
          expect(known.place).toBe(-1)
        }
        expect(bag.size).toBe(held.size)
        expect(new Set(bag.values())).toEqual(new Set(held.values()))
        expect(bag.values().map(({ place }) => place)).toEqual(bag.values().map((_, index) => index))
      }
    }),
  )
})

test('what is taken out while all are gone through is gone through all the same', () => {
  const bag = new Bag<Placed>()
  const items = [{ place: -1 }, { place: -1 }, { place: -1 }]
  for (const item of items) bag.add(item)
  const seen: Placed[] = []
  for (const item of bag.values()) {
    bag.delete(item)
    seen.push(item)
  }
  expect(seen).toEqual(items)
  expect(bag.size).toBe(0)
})
