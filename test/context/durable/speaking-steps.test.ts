import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { AgentContext } from '../../../src/agent/context.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { deferred } from '../../../src/util/deferred.ts'
import { folded, rawEvents, textOf } from '../../worker/durable/crew.ts'
import { House } from '../../worker/harness.ts'

const SIDES = [0, 1, 2]
const WORDS = ['a', 'b', 'c']
const ROUNDS = 2
const TASKS = 20
const STOPS = 4

interface How {
  /** They hold others of their own. */
  readonly isNested: boolean
  /** The handler says something beside them. */
  readonly isTalking: boolean
}

/** Steps of one name side by side, each of which says its words one after another. */
async function speak(context: AgentContext, { isNested, isTalking }: How, onWord: () => Promise<void>) {
  const say = async (round: number, side: number) => {
    for (const word of WORDS) {
      await context.emitChunk(`<${round}${side}${word}>`)
      await onWord()
      await pause(Math.random() * 8)
      if (isNested && word === 'b') {
        await Promise.all(
          [0, 1].map((one) =>
            context.step('say', async () => {
              await pause(Math.random() * 5)
              await context.emitChunk(`<${round}${side}n${one}>`)
              await pause(Math.random() * 5)
            }),
          ),
        )
      }
    }
    return side
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    void context.emitChunk(`[${round}`)
    const talk = isTalking ? context.emitChunk('-') : undefined
    const done = await Promise.all(SIDES.map((side) => context.step('say', () => say(round, side))))
    await talk
    await context.emitChunk(`${done.join('')}${round}]`)
  }
}

/** The words of each step must stand once and in order, between those of the handler around it. */
function expectText(text: string, { isNested, isTalking }: How): void {
  for (let round = 0; round < ROUNDS; round += 1) {
    const [, inner = ''] = new RegExp(`\\[${round}${isTalking ? '-' : ''}(.*)012${round}\\]`).exec(text) ?? []
    for (const side of SIDES) {
      const own = [...inner.matchAll(new RegExp(`<${round}${side}(\\w)>`, 'g'))].map(([, word]) => word)
      const words = own.filter((word) => WORDS.includes(word as string))
      expect(words, text).toEqual(WORDS)
      const nested = [...inner.matchAll(new RegExp(`<${round}${side}(n\\d)>`, 'g'))].map(([, word]) => word)
      expect(nested.sort(), text).toEqual(isNested ? ['n0', 'n1'] : [])
    }
    const count = SIDES.length * (WORDS.length + (isNested ? 2 : 0))
    expect(inner.split('<').length - 1, text).toBe(count)
  }
}

describe('steps of one name side by side that speak', () => {
  test.each([
    { isNested: false, isTalking: false, failures: 0, coalesceMs: 0 },
    { isNested: true, isTalking: true, failures: 0, coalesceMs: 0 },
    { isNested: true, isTalking: false, failures: 2, coalesceMs: 0 },
    { isNested: true, isTalking: true, failures: 1, coalesceMs: 3 },
  ])(
    'keep their words, each once and in order, however often their workers stop: %j',
    { timeout: 120_000 },
    async ({ failures, coalesceMs, ...how }) => {
      const house = new House()
      const retry = { maxAttempts: failures + 1, backoff: { type: 'fixed', delayMs: 5 } } as const
      let words = 0
      let ended = 0
      let isStopped = false
      const stopped = deferred()
      const hire = () =>
        house.work(
          async (_, context) => {
            await speak(context, how, async () => {
              words += 1
              // The first worker stops in the middle of steps.
              if (!isStopped) await stopped.promise
            })
            if (context.attempt <= failures) throw new Error('again')
            ended += 1
          },
          { retry, coalesceMs },
        )
      const client = house.client()
      const refs = Array.from({ length: TASKS }, (_, i) => ({ sessionId: `s-${i}`, messageId: 'm' }))
      await Promise.all(refs.map((ref) => client.sendMessage({ ...ref, targetAgentType: 'agent', content: 'x' })))
      let worker = await hire()
      const most = TASKS * ROUNDS * SIDES.length * WORDS.length
      for (let i = 0; i < STOPS; i += 1) {
        const enough = words + 1 + most * Math.random() * 0.1
        await waitFor(() => words >= enough || ended >= TASKS, { timeoutMs: 30_000, intervalMs: 1 })
        await worker.stop()
        isStopped = true
        stopped.resolve()
        worker = await hire()
      }
      let rewinds = 0
      for (const ref of refs) {
        const result = await client.result({ ...ref, timeoutMs: 60_000 })
        expect(result.status).toBe('COMPLETED')
        const events = await rawEvents(house, ref.sessionId)
        const text = textOf(folded(events, 'm'))
        rewinds += events.filter(({ event_type: type }) => type === 'rewind').length
        expectText(text, how)
        expect(result.content).toBe(text)
      }
      expect(rewinds).toBeGreaterThan(0)
    },
  )
})
