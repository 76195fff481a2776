import { describe, expect, test } from 'vitest'
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
