import { describe, expect, test } from 'vitest'
import { MOST_AWAY, Slots } from '../../src/worker/slots.ts'

test('a slot is free when its handler has ended; all is drained when every end is recorded', async () => {
  const slots = new Slots(2)
  await slots.available()
  await slots.drained()
  slots.take(2)
  expect([slots.used, slots.free]).toEqual([2, 0])
  const told: string[] = []
  const waits = [slots.available().then(() => told.push('free')), slots.drained().then(() => told.push('drained'))]
  await new Promise(setImmediate)
  expect(told).toEqual([])
  slots.give()
  await new Promise(setImmediate)
  expect([told, slots.free]).toEqual([['free'], 1])
  slots.close()
  slots.give()
  await new Promise(setImmediate)
  expect(told).toEqual(['free'])
  slots.close()
  await Promise.all(waits)
  expect(told).toEqual(['free', 'drained'])
})

test('one who waits can be woken without a slot', async () => {
  const slots = new Slots(1)
  slots.take(1)
  const waiting = slots.available()
  slots.wake()
  await waiting
  expect(slots.free).toBe(0)
})

describe('a seat', () => {
  test('that is left is free for others, and is taken again before any new task gets one', async () => {
    const slots = new Slots(1)
    slots.take(1)
    const first = slots.seat()
    first.leave()
    expect([slots.used, slots.free, slots.away]).toEqual([0, 1, 1])
    slots.take(1)
    const second = slots.seat()
    let isBack = false
    const back = first.reenter().then(() => {
      isBack = true
    })
    await new Promise(setImmediate)
    expect([isBack, slots.used, slots.free]).toEqual([false, 1, 0])
    second.give()
    await back
    expect([slots.used, slots.free, slots.away]).toEqual([1, 0, 0])
    slots.close()
    let isDrained = false
    void slots.drained().then(() => {
      isDrained = true
    })
    first.give()
    await new Promise(setImmediate)
    expect(isDrained).toBe(false)
    slots.close()
    await new Promise(setImmediate)
    expect([isDrained, slots.free]).toEqual([true, 1])
  })

  test('keeps the order of those who come back, and whoever ends while away leaves nothing behind', async () => {
    const slots = new Slots(1)
    const seats = [0, 1, 2].map(() => {
      slots.take(1)
      const seat = slots.seat()
      seat.leave()
      return seat
    })
    const [a, b, c] = seats as [(typeof seats)[0], (typeof seats)[0], (typeof seats)[0]]
    slots.take(1)
    const running = slots.seat()
    const order: string[] = []
    const waits = [
      a.reenter().then(() => order.push('a')),
      b.reenter().then(() => order.push('b')),
      c.reenter().then(() => order.push('c')),
    ]
    b.give()
    slots.close()
    running.give()
    slots.close()
    await Promise.all([waits[0], waits[1]])
    expect(order.toSorted()).toEqual(['a', 'b'])
    // It waits again before its turn: the one behind goes on without.
    c.leave()
    await waits[2]
    expect([slots.used, slots.away]).toEqual([1, 1])
    c.give()
    a.give()
    slots.close()
    slots.close()
    await slots.drained()
    expect([slots.used, slots.away, slots.free]).toEqual([0, 0, 1])
  })
})

test('what was away and ends may be more than there is room for; then nothing is free', () => {
  const slots = new Slots(1)
  const seats = Array.from({ length: 404 }, () => {
    slots.take(1)
    const seat = slots.seat()
    seat.leave()
    return seat
  })
  for (const seat of seats) seat.give()
  expect(slots.free).toBe(0)
})

test('no slot is free while as many tasks are away as there may be', () => {
  const slots = new Slots(1)
  const seats = Array.from({ length: MOST_AWAY }, () => {
    slots.take(1)
    const seat = slots.seat()
    seat.leave()
    return seat
  })
  expect([slots.used, slots.free]).toEqual([0, 0])
  seats[0]?.give()
  slots.close()
  expect(slots.free).toBe(1)
})

test('all is drained only when nobody is away any more', async () => {
  const slots = new Slots(2)
  slots.take(2)
  const [away, other] = [slots.seat(), slots.seat()]
  away.leave()
  let isDrained = false
  const drained = slots.drained().then(() => {
    isDrained = true
  })
  other.give()
  slots.close()
  void slots.drained().then(() => {
    isDrained = true
  })
  await new Promise(setImmediate)
  expect(isDrained).toBe(false)
  away.give()
  slots.close()
  await drained
})

test('a seat tells how long it was taken, once', () => {
  const slots = new Slots(1)
  const told: number[] = []
  slots.take(1)
  const seat = slots.seat((ms) => told.push(ms))
  seat.give()
  seat.give()
  expect(told).toHaveLength(1)
  expect(slots.used).toBe(0)
})
