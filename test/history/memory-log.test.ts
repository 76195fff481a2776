import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type LogMessage, MemoryLog, NOWHERE } from '../../src/history/memory-log.ts'

const message = (content: LogMessage['content'], change: Partial<LogMessage> = {}): LogMessage => ({
  ...{ role: 'user', content, messageId: 'm', metadata: {}, createdAt: 1_795_000_000_000, fencingToken: 1, ...change },
})

test('gives back what it was given', () => {
  const log = new MemoryLog(100_000, () => undefined)
  const rich = message([{ type: 'text', text: 'ünï — 字 \u0000' }], {
    ...{ role: 'tool', messageId: 'm-字', metadata: { deep: { of: ['all'] } }, createdAt: 0, fencingToken: 2 ** 40 },
  })
  const first = log.append(3, NOWHERE, rich)
  const second = log.append(3, first, message(''))
  expect(log.read(first)).toEqual({ ...rich, position: first, previous: NOWHERE })
  expect(log.read(second)).toEqual({ ...message(''), position: second, previous: first })
})

test('keeps the newest of all, as many as find room, and tells of each that is overwritten, the oldest first', () => {
  const lengths = fc.array(fc.record({ owner: fc.nat(3), length: fc.nat(900) }), { maxLength: 200 })
  fc.assert(
    fc.property(lengths, fc.integer({ min: 80, max: 4_000 }), (appends, most) => {
      const overwritten: number[] = []
      const log = new MemoryLog(most, (_, position) => void overwritten.push(position))
      const newest = [NOWHERE, NOWHERE, NOWHERE, NOWHERE]
      const all: { position: number; owner: number; content: string }[] = []
      for (const { owner, length } of appends) {
        const content = String(all.length).padEnd(length, 'é')
        newest[owner] = log.append(owner, newest[owner] as number, message(content))
        all.push({ position: newest[owner] as number, owner, content })
      }
      const gone = all.slice(0, overwritten.length)
      expect(overwritten).toEqual(gone.map(({ position }) => position))
      const kept = all.slice(overwritten.length)
      expect(kept.every(({ position }) => position >= log.tail)).toBe(true)
      expect(kept.length > 0 || all.length === 0).toBe(true)
      // Along the log, and back along each owner's.
      const along: { position: number; owner: number }[] = []
      for (let at = log.owner(log.tail); at !== undefined; at = log.owner(at.next)) along.push(at)
      expect(along.map(({ position, owner }) => [position, owner])).toEqual(
        kept.map((one) => [one.position, one.owner]),
      )
      for (const [owner, last] of newest.entries()) {
        const back: string[] = []
        for (let at = last; at >= log.tail; at = log.read(at).previous) back.push(log.read(at).content as string)
        expect(back.reverse()).toEqual(kept.filter((one) => one.owner === owner).map((one) => one.content))
      }
    }),
  )
})

test('a message that is larger than all may be is kept alone, and makes no room for those after it', () => {
  const overwritten: number[] = []
  const log = new MemoryLog(2_000, (_, position) => void overwritten.push(position))
  const positions: number[] = []
  const append = (content: string) => {
    positions.push(log.append(0, NOWHERE, message(content)))
    expect(log.read(positions.at(-1) as number).content).toBe(content)
    return positions.length - overwritten.length
  }
  for (const content of ['a', 'x'.repeat(90_000), 'y'.repeat(3_000), 'z'.repeat(50_000), 'b']) append(content)
  expect(overwritten).toEqual(positions.slice(0, -1))
  // Each takes 72 bytes besides its text.
  const kept = Array.from({ length: 20 }, () => append('c'.repeat(328)))
  expect(Math.max(...kept)).toBe(5)
  expect(overwritten).toEqual(positions.slice(0, -5))
  expect(positions).toEqual(positions.toSorted((one, other) => one - other))
})
