import { describe, expect, test } from 'vitest'
import { decodeEvent } from '../../src/protocol/event-decoder.ts'
import { House } from '../worker/harness.ts'

const TASKS = [0, 1, 2]
const EACH = 8
/** What Redis bears with a subscriber who is behind; small, to have it at once. */
const LIMIT = ['--client-output-buffer-limit', 'pubsub 2mb 1mb 60']

describe('events that nobody awaits, and that are too much at a time for a subscriber', () => {
  test.each([
    { kib: 900, about: 'together' },
    { kib: 3_000, about: 'each by itself' },
  ])('$about: he is dropped, and reads each of them from the stream, once and in order', async ({ kib }) => {
    const house = await House.private(LIMIT)
    const text = (task: number, number: number) => `${task}.${number} `.padEnd(kib * 1_024, 'x')
    await house.work(({ content }, context) => {
      for (let i = 0; i < EACH; i += 1) void context.emitChunk(text(Number(content), i))
      return null
    })
    const client = house.client()
    const events = client.subscribe('s', { after: '0' })
    const seen = TASKS.map((): string[] => [])
    const reading = (async () => {
      let ends = 0
      for await (const event of events) {
        if (event.type === 'chunk') seen[Number(event.messageId)]?.push(event.content)
        if (event.type === 'done') ends += 1
        if (ends === TASKS.length) break
      }
    })()
    const send = { targetAgentType: 'agent', sessionId: 's' }
    await Promise.all(TASKS.map((task) => client.sendMessage({ ...send, messageId: `${task}`, content: `${task}` })))
    await reading
    const short = (one: string) => `${one.slice(0, 5)} ${one.length}`
    const expected = TASKS.map((task) => Array.from({ length: EACH }, (_, i) => short(text(task, i))))
    expect(seen.map((texts) => texts.map(short))).toEqual(expected)
    const drops = house.logger.lines.filter(({ fields }) => fields.connection === 'subscriber' && 'reason' in fields)
    expect(drops.length).toBeGreaterThan(0)
    const reads = Number(/cmdstat_xrange:calls=(\d+)/.exec(await house.redis.info('commandstats'))?.[1])
    expect(reads).toBeLessThan(3 * TASKS.length * EACH)
  })
})

test('what steps have said is read again in pieces, however large its events are', async () => {
  // A reply of more than this costs the connection.
  const house = await House.private(['--client-output-buffer-limit', 'normal 24mb 0 0'])
  const words = Array.from({ length: 40 }, (_, i) => `${i} `.padEnd(1_048_576, 'x'))
  await house.work(
    async (_, context) => {
      await context.step('speak', () => {
        for (const word of words) void context.emitChunk(word)
      })
      if (context.attempt === 1) throw new Error('again')
      return null
    },
    { history: false, retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 5 } } },
  )
  const client = house.client()
  const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'x' }
  await client.sendMessage(send)
  expect(await client.result(send)).toMatchObject({ status: 'COMPLETED', attempts: 2 })
  const said: string[] = []
  for (let from = '-'; ; ) {
    const entries = await house.redis.xrange(house.keys.data('s'), from, '+', 'COUNT', 10)
    if (entries.length === 0) break
    for (const [id, fields] of entries) {
      const event = decodeEvent(id, fields[1])
      if (event.type === 'rewind') said.length = 0
      if (event.type === 'chunk') said.push(event.content.slice(0, 5))
      from = `(${id}`
    }
  }
  expect(said).toEqual(words.map((word) => word.slice(0, 5)))
  expect(house.logger.lines.filter(({ message }) => message === 'Redis connection lost')).toEqual([])
})
