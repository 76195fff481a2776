import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Parcel } from '../../src/history/parcel.ts'
import { Turns } from '../../src/history/turns.ts'

const parcel = (sessionId = 's') => new Parcel(sessionId, { role: 'user', content: 'x' })

function open() {
  const sent: number[] = []
  const turns = new Turns(async (parcels) => void sent.push(parcels.length))
  const say = (count: number) => Promise.all(Array.from({ length: count }, () => turns.add(parcel())))
  return { sent, say }
}

test('what is said in one turn of the event loop goes out together, at its end', async () => {
  const { sent, say } = open()
  const first = say(3)
  const second = say(2)
  expect(sent).toEqual([])
  await Promise.all([first, second])
  expect(sent).toEqual([5])
  await say(1)
  expect(sent).toEqual([5, 1])
})

test('where many speak, what is said within a few ms goes out together; a few wait for nobody', async () => {
  const { sent, say } = open()
  await say(20)
  vi.useFakeTimers({ toFake: ['setTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const all = [say(2)]
  await nextTurn()
  all.push(say(1))
  await nextTurn()
  expect(sent).toEqual([20])
  vi.advanceTimersByTime(2)
  expect(sent).toEqual([20, 3])
  all.push(say(2))
  await nextTurn()
  expect(sent).toEqual([20, 3, 2])
  await Promise.all(all)
})
