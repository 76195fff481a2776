import { expect, test, vi } from 'vitest'
import { House } from './harness.ts'

test('events of many sessions are written in one call, also where some of these are swept besides', async () => {
  // Every second session is due for a sweep at its first write.
  let asked = 0
  const chance = vi.spyOn(Math, 'random').mockImplementation(() => (asked++ % 2 === 0 ? 0.01 : 0.99))
  const house = new House()
  await house.work(async (_, context) => {
    await context.emitChunk('one')
    await context.emitChunk('two')
  })
  const client = house.client()
  const asks = Array.from({ length: 100 }, (_, i) =>
    client.ask({ targetAgentType: 'agent', sessionId: `s-${i}`, content: 'go' }),
  )
  const ends = await Promise.all(asks)
  chance.mockRestore()
  expect(new Set(ends.map(({ status, content }) => `${status} ${content}`))).toEqual(new Set(['COMPLETED onetwo']))
  expect(house.logger.lines.filter(({ level }) => level === 'error')).toEqual([])
})
