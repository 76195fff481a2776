import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { HistoryMessage } from '../../src/agent/history.ts'
import { tool } from '../../src/agent/tool.ts'
import { MemoryHistory } from '../../src/history/memory.ts'
import { deferred } from '../../src/util/deferred.ts'
import { folded, rawEvents, textOf } from '../worker/durable/crew.ts'
import { House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }

/** A history that takes its time. */
class SlowHistory extends MemoryHistory {
  override async append(sessionId: string, messages: readonly HistoryMessage[]): Promise<void> {
    await pause(60)
    return super.append(sessionId, messages)
  }
}

describe('what the loser of a race says after its handler has returned', () => {
  test.each([
    { retold: false },
    // What a recorded step has said is read from the stream at the end.
    { retold: true },
  ])('is refused: the answer, the stream and the history hold the same words (%j)', async ({ retold }) => {
    const house = new House()
    const history = new SlowHistory()
    const codes: string[] = []
    await house.work(
      async (_, context) => {
        await context.step('once', () => context.emitChunk('once '))
        if (retold && context.attempt === 1) throw new Error('again')
        const loser = async () => {
          for (let i = 0; i < 100; i += 1) {
            await pause(1)
            await context.emitChunk(`${i} `)
          }
        }
        const lost = loser().catch((error: { code: string }) => void codes.push(error.code))
        await Promise.race([lost, pause(20)])
        void context.emitChunk('end')
        return null
      },
      { history, retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 5 } } },
    )
    const { status, content } = await house.client().ask(send)
    await pause(150)
    const text = textOf(folded(await rawEvents(house, 's'), 'm'))
    expect([status, text]).toEqual(['COMPLETED', expect.stringMatching(/^once (\d+ )+end$/)])
    expect(content).toBe(text)
    expect((await history.list('s')).at(-1)?.content).toBe(text)
    expect(codes).toEqual(['GW_CLOSED'])
  })
})

test('what the loser of a race begins after its handler has returned is not carried out', async () => {
  const house = new House()
  const returned = deferred()
  const tried = deferred()
  /** The end is not recorded before the loser has tried. */
  class HeldHistory extends MemoryHistory {
    override async append(sessionId: string, messages: readonly HistoryMessage[]): Promise<void> {
      if (messages.some(({ role }) => role === 'assistant')) {
        returned.resolve()
        await tried.promise
      }
      return super.append(sessionId, messages)
    }
  }
  const tools = {
    book: tool({ description: 'Books.', input: z.object({}), durable: true, execute: () => carriedOut() }),
  }
  let count = 0
  const carriedOut = () => {
    count += 1
  }
  const codes: string[] = []
  await house.work(
    async (_, context) => {
      await context.step('first', () => null)
      void returned.promise.then(async () => {
        const calls = [() => context.step('late', carriedOut), () => context.callTool('book', {})]
        for (const call of calls) await call().catch(({ code }: { code: string }) => codes.push(code))
        tried.resolve()
      })
      return 'end'
    },
    { history: new HeldHistory(), tools },
  )
  expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED', content: 'end' })
  expect([codes, count]).toEqual([['GW_CLOSED', 'GW_CLOSED'], 0])
})
