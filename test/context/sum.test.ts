import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HoldBack } from '../../src/context/hold-back.ts'
import { Sum } from '../../src/context/sum.ts'

const of = (...texts: string[]) => {
  const sum = new Sum()
  for (const text of texts) sum.add(text)
  return sum
}

describe('a sum', () => {
  test('is the same for the same texts, also after it was written and read', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' })), fc.array(fc.string()), (before, after) => {
        const read = Sum.parse(of(...before).toString()) as Sum
        for (const text of after) read.add(text)
        expect(read.equals(of(...before, ...after))).toBe(true)
        expect(read.count).toBe(before.length + after.length)
      }),
    )
  })

  test('tells texts, their order and their borders apart', () => {
    const sums = [of('a', 'b'), of('b', 'a'), of('ab', ''), of('', 'ab'), of('ab'), of('a', 'b', ''), of('a', 'c')]
    expect(new Set(sums.map(String)).size).toBe(sums.length)
    const many = new Set(Array.from({ length: 100_000 }, (_, i) => String(of(`${i}`))))
    expect(many.size).toBe(100_000)
  })

  test('can be set to another and to nothing', () => {
    const sum = of('a')
    sum.set(of('x', 'y'))
    expect(sum.equals(of('x', 'y'))).toBe(true)
    sum.reset()
    expect(sum.equals(new Sum())).toBe(true)
  })

  test.each(['', '-', '1.2', '1.2.x', '1.2.3.4'])('is not read from %j', (text) => {
    expect(Sum.parse(text)).toBeNull()
  })
})

describe('holding back', () => {
  const said = (content: string) =>
    ({ body: { type: 'chunk', content }, metadata: undefined, step: undefined }) as const
  const offer = (holdBack: HoldBack, ...texts: string[]) => texts.map((text) => holdBack.offer(said(text), text))

  test('ends when as much was said, the same or not', () => {
    expect(offer(new HoldBack(of('a', 'b')), 'a', 'b')).toEqual(['undecided', 'same'])
    const other = new HoldBack(of('a', 'b'))
    expect(offer(other, 'a', 'c')).toEqual(['undecided', 'different'])
    expect(other.items).toEqual([said('a'), said('c')])
  })
})
