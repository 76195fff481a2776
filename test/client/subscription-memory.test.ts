import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { heapUsed } from '../support/heap.ts'
import { collect, House } from '../worker/harness.ts'

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

describe('of large events one who reads slowly holds a few', () => {
  const LARGE = 256 * 1_024
  const many = 200
  const limit = 24 * 1_048_576

  test('of those that are pushed', { timeout: 60_000 }, async () => {
    const house = new House()
    await house.work(async (_command, context) => {
      for (let i = 0; i < many; i += 1) await context.emitChunk(`${i} ${'x'.repeat(LARGE)}`)
    })
    const client = house.client()
    const subscription = client.subscribe('s', { after: '0', messageId: 'm' })
    const first = subscription.next()
    await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'x' })
    await first
    const before = heapUsed()
    await client.result({ sessionId: 's', messageId: 'm' })
    expect(heapUsed() - before).toBeLessThan(limit)
    const rest = await collect(subscription)
    expect(rest.map((event) => (event.type === 'chunk' ? Number.parseInt(event.content, 10) : event.type))).toEqual([
      ...Array.from({ length: many - 1 }, (_, index) => index + 1),
      'done',
    ])
  })

  test('of those that it catches up with', { timeout: 60_000 }, async () => {
    const house = new House()
    const event = JSON.stringify({ event_type: 'chunk', message_id: 'm', data: { content: 'x'.repeat(LARGE) } })
    for (let i = 0; i < many; i += 1) await house.redis.xadd(house.keys.data('s'), '*', 'data', event)
    const subscription = house.client().subscribe('s', { after: '0', follow: false })
    const before = heapUsed()
    expect((await subscription.next()).done).toBe(false)
    // Until then the answer that brought the page is still in somebody's hands.
    await pause(200)
    expect(heapUsed() - before).toBeLessThan(limit)
    expect(await collect(subscription)).toHaveLength(many - 1)
  })
})
