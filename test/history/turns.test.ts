import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Parcel } from '../../src/history/parcel.ts'
import { Turns } from '../../src/history/turns.ts'

const parcel = (sessionId = 's') => new Parcel(sessionId, { role: 'user', content: 'x' })

function open() {
  const sent: number[] = []
  const turns = new Turns(async (parcels) => void sent.push(parcels.length))
  const later = (count: number) => Promise.all(Array.from({ length: count }, () => turns.add(parcel())))
  const say = (count: number) => {
    const said = later(count)
    turns.hurry()
    return said
  }
  return { turns, sent, say, later }
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

test('what nobody waits for goes with what somebody does, or after a few ms, or when all is to go', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const { turns, sent, say, later } = open()
  void later(2)
  await nextTurn()
  expect(sent).toEqual([])
  await say(1)
  expect(sent).toEqual([3])
  void later(4)
  vi.advanceTimersByTime(2)
  expect(sent).toEqual([3, 4])
  void later(5)
  await turns.flushed()
  await turns.flushed()
  expect(sent).toEqual([3, 4, 5])
})

test('where many speak, what is said within a few ms goes out together; a few wait for nobody', async () => {
  const { sent, say } = open()
  await say(20)
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
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
