import { describe, expect, test } from 'vitest'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { House } from '../harness.ts'
import { audit, Crew } from './crew.ts'

const SESSIONS = 6

describe('three levels of calls with steps, whose workers are killed again and again', () => {
  test.each([
    ['in memory', 60_000],
    ['suspended after 30 ms', 30],
  ])(
    '%s: every text is exact, every call is one task, every end comes once',
    { timeout: 180_000 },
    async (_, suspendAfterMs) => {
      const house = new House()
      const client = house.client()
      const crew = new Crew(house, { leaseMs: 600, suspendAfterMs, percent: 1 })
      crew.hire()
      crew.hire()
      for (let i = 0; i < SESSIONS; i += 1) {
        await client.sendMessage({ targetAgentType: 'parent', sessionId: `s-${i}`, messageId: 'm', content: `c${i}` })
      }
      const calm = setTimeout(() => crew.calm(), 40_000)
      const ends = await Promise.all(
        Array.from({ length: SESSIONS }, (_, i) =>
          client.result({ sessionId: `s-${i}`, messageId: 'm', timeoutMs: 150_000 }),
        ),
      )
      clearTimeout(calm)
      expect(ends.map(({ status }) => status)).toEqual(Array(SESSIONS).fill('COMPLETED'))
      await waitFor(async () => (await house.waiting('parent')) + (await house.waiting('middle')) === 0)
      for (let i = 0; i < SESSIONS; i += 1) await audit(house, `s-${i}`, `c${i}`)
      expect(crew.deaths).toBeGreaterThan(0)
    },
  )
})
