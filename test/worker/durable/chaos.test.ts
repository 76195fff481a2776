import { describe, expect, test } from 'vitest'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { sized } from '../../support/size.ts'
import { House } from '../harness.ts'
import { audit, Crew } from './crew.ts'

const TROUBLE_MS = sized({ short: 4_000, long: 20_000 })
const FEW = sized({ short: 4, long: 6 })
const MANY = sized({ short: 12, long: 60 })

describe('three levels of calls with steps, whose workers are killed again and again', () => {
  test.each([
    ['in memory, by their own hand', 60_000, 100, FEW],
    ['suspended after 30 ms, by their own hand', 30, 100, FEW],
    ['suspended after 100 ms, killed or stopped from outside at any moment', 100, Number.POSITIVE_INFINITY, MANY],
  ])(
    '%s: every text is exact, every call is one task, every end comes once',
    { timeout: 180_000 },
    async (_, suspendAfterMs, lifespan, sessions) => {
      const house = new House()
      const client = house.client()
      const crew = new Crew(house, { leaseMs: 600, suspendAfterMs, lifespan })
      for (let i = 0; i < 3; i += 1) crew.hire()
      for (let i = 0; i < sessions; i += 1) {
        await client.sendMessage({ targetAgentType: 'parent', sessionId: `s-${i}`, messageId: 'm', content: `c${i}` })
      }
      const strikes = setInterval(() => lifespan === Number.POSITIVE_INFINITY && crew.strike(), 500)
      const calm = setTimeout(() => {
        crew.calm()
        clearInterval(strikes)
      }, TROUBLE_MS)
      const ends = await Promise.all(
        Array.from({ length: sessions }, (_, i) =>
          client.result({ sessionId: `s-${i}`, messageId: 'm', timeoutMs: 150_000 }),
        ),
      )
      clearTimeout(calm)
      clearInterval(strikes)
      expect(ends.map(({ status }) => status)).toEqual(Array(sessions).fill('COMPLETED'))
      await waitFor(async () => (await house.waiting('parent')) + (await house.waiting('middle')) === 0)
      for (let i = 0; i < sessions; i += 1) await audit(house, `s-${i}`, `c${i}`)
      expect(crew.deaths + crew.strikes).toBeGreaterThan(0)
    },
  )
})
