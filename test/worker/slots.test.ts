import { expect, test } from 'vitest'
import { Slots } from '../../src/worker/slots.ts'

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
