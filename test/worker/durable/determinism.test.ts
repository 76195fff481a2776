import { describe, expect, test } from 'vitest'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { deferred } from '../../../src/util/deferred.ts'
import { House } from '../harness.ts'
import { folded, rawEvents, textOf } from './crew.ts'

const ref = { sessionId: 's', messageId: 'm' }
const send = { targetAgentType: 'agent', ...ref, content: 'hi' }
const capabilities = ['agent', 'child']

/** An agent that calls what `plan` says for its run, then waits for `last`, suspended, and runs again. */
async function replayed(plan: (run: number) => string[], options: { onNonDeterminism?: 'fail' | 'restart' } = {}) {
  const house = new House()
  const last = deferred()
  let run = 0
  const called: string[] = []
  await house.work(
    async ({ content }, context) => {
      if (context.agentType === 'child') {
        called.push(String(content))
        if (content === 'last') await last.promise
        return `${content}!`
      }
      run += 1
      await context.emitChunk(`run ${run} `)
      const ask = async (text: string) => (await context.callAgent({ targetAgentType: 'child', content: text })).content
      let replies: string[]
      try {
        replies = await Promise.all(plan(run).map(ask))
      } catch {
        replies = ['caught']
      }
      await ask('last')
      return replies
    },
    { capabilities, suspendAfterMs: 50, leaseMs: 500, retry: { maxAttempts: 3 }, ...options },
  )
  const client = house.client()
  await client.sendMessage(send)
  await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_AGENT' && called.includes('last'))
  last.resolve()
  const end = await client.result({ ...ref, timeoutMs: 20_000 })
  const text = textOf(folded(await rawEvents(house, 's'), 'm'))
  return { house, end, called, runs: run, text }
}

describe('a handler that runs again', () => {
  test('may make the same calls in another order', async () => {
    const { end, called } = await replayed((run) => (run === 1 ? ['a', 'b', 'c'] : ['c', 'a', 'b']))
    expect(end.data).toEqual(['c!', 'a!', 'b!'])
    expect([...called].sort()).toEqual(['a', 'b', 'c', 'last'])
  })

  test('and calls something else fails for good, with what was recorded and what came, though it catches the error', async () => {
    const { end, called, runs } = await replayed((run) => [run === 1 ? 'recorded' : 'given'])
    expect(end).toMatchObject({ status: 'FAILED', attempts: 1, error: { code: 'GW_NON_DETERMINISM' } })
    expect(end.error?.message).toMatch(/call:child#0.*given.*recorded/)
    expect([called, runs]).toEqual([['recorded', 'last'], 2])
  })

  test('and calls something else starts afresh where that is wanted, with a rewind', async () => {
    const { end, called, text } = await replayed((run) => [run === 1 ? 'recorded' : 'given'], {
      onNonDeterminism: 'restart',
    })
    expect(end).toMatchObject({ status: 'COMPLETED', data: ['given!'], attempts: 1 })
    expect(called).toEqual(['recorded', 'last', 'given', 'last'])
    expect(text).toMatch(/^run \d $/)
  })

  test('and starts afresh cancels what the dropped journal had called', async () => {
    const house = new House()
    const client = house.client()
    let run = 0
    await house.work(
      async (_, context) => {
        run += 1
        // Nobody offers it: it stays open.
        if (run === 1) void context.callAgent({ targetAgentType: 'nobody', content: 'x' })
        await context.sleep(run === 1 ? 500 : 501)
        return run
      },
      { suspendAfterMs: 20, leaseMs: 1_000, onNonDeterminism: 'restart' },
    )
    expect((await client.ask({ ...send, timeoutMs: 20_000 })).status).toBe('COMPLETED')
    await waitFor(async () => {
      const [, child] = await client.listTasks({ sessionId: 's' })
      return child?.agentType === 'nobody' && child.status === 'CANCELLED'
    })
  })

  test('and never does the same twice is not started afresh for ever', async () => {
    const house = new House()
    let run = 0
    await house.work(
      async (_, context) => {
        run += 1
        await context.sleep(500 + run)
      },
      { suspendAfterMs: 20, leaseMs: 500, onNonDeterminism: 'restart' },
    )
    const end = await house.client().ask({ ...send, timeoutMs: 20_000 })
    expect(end).toMatchObject({ status: 'FAILED', error: { code: 'GW_NON_DETERMINISM' } })
    // Each of four times it ran, slept, and ran again with another time.
    expect(run).toBe(8)
  })
})
