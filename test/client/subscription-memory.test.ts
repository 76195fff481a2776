import { expect, test } from 'vitest'
import { heapUsed } from '../support/heap.ts'
import { House } from '../worker/harness.ts'

const BATCH = 2_000
const EVENTS = 20_000

test('a subscription that is followed for long holds no memory per event', { timeout: 60_000 }, async () => {
  const house = new House()
  const key = house.keys.data('s')
  const header = { event_type: 'chunk', session_id: 's', message_id: 'm', trace_id: 't' }
  const event = JSON.stringify({ ...header, content: 'word' })
  const subscription = house.client().subscribe('s', { after: '0' })
  const read = async (count: number) => {
    for (let done = 0; done < count; done += BATCH) {
      const writes = Array.from({ length: BATCH }, () =>
        house.redis.xadd(key, 'MAXLEN', '~', 10_000, '*', 'data', event),
      )
      await Promise.all(writes)
      for (let next = 0; next < BATCH; next += 1) expect((await subscription.next()).done).toBe(false)
    }
  }
  await read(EVENTS)
  const before = heapUsed()
  await read(EVENTS)
  // A hundred bytes an event would be two megabytes.
  expect(heapUsed() - before).toBeLessThan(2_000_000)
  await subscription.return()
})
