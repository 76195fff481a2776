import { expect, test } from 'vitest'
import { type InboxMessage, InboxReader, InboxWriter } from '../../src/store/inbox.ts'
import { openStore } from '../redis/harness.ts'

test.each([
  { kind: 'large', count: 200, size: 32_768, most: 64 },
  { kind: 'many', count: 4_000, size: 1, most: 1_300 },
])('what was read of $kind messages does not stay', async ({ count, size, most }) => {
  const { redis, keys, bare, connections } = openStore()
  const reader = new InboxReader({ redis, blocking: connections.client('blocking'), keys, workerId: 'w' })
  const writer = new InboxWriter(redis, keys)
  await reader.open()
  const heard: InboxMessage[] = []
  const text = 'x'.repeat(size)
  for (let sent = 0; sent < count; sent += 20) {
    const ops = Array.from({ length: 20 }, (_, index) => `${sent + index}`)
    await Promise.all(ops.map((op) => writer.reply({ owner: 'w', task: { sessionId: 's', messageId: 'm' }, op, text })))
    while (heard.length < sent + 20) heard.push(...(await reader.read()))
  }
  expect(heard.map((message) => (message.kind === 'reply' ? message.op : message.kind))).toEqual(
    Array.from({ length: count }, (_, index) => `${index}`),
  )
  expect(await bare.xlen(keys.inbox('w'))).toBeLessThan(most)
})
