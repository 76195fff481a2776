import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import type { AgentContext } from '../../../src/agent/context.ts'
import { tool } from '../../../src/agent/tool.ts'
import type { AskAgentCommand } from '../../../src/protocol/command.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { deferred } from '../../../src/util/deferred.ts'
import { Gate, House } from '../harness.ts'
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

describe('branches that run side by side and wait for what is not recorded', () => {
  const child = (content: string) => ({ targetAgentType: 'child', content })
  const call = async (context: AgentContext, name: string) => (await context.callAgent(child(name))).content
  type Branch = (context: AgentContext, name: string) => Promise<unknown>

  /** Runs two branches, `a` before `b` and then, in another worker, the other way round; answers what was called how often. */
  async function swapped(branch: Branch, isSecondMade: boolean, isInStep = false): Promise<string[]> {
    const house = new House()
    const ran: string[] = []
    const gate = new Gate()
    onTestFinished(() => gate.open())
    const run = async (name: string) => {
      ran.push(name)
      if (isSecondMade && ran.length === 1) await gate.pass()
    }
    // A model, a page of the web.
    const look = tool({
      ...{ description: 'looks', input: z.object({ ms: z.number() }) },
      execute: ({ ms }) => (ms < 0 ? gate.pass() : pause(ms)),
    })
    const note = tool({
      ...{ description: 'notes', input: z.object({ name: z.string() }), durable: true },
      execute: async ({ name }) => {
        await run(name)
        return name
      },
    })
    const hire = (delays: { a: number; b: number }) => {
      const both = (context: AgentContext) =>
        Promise.all(
          (['a', 'b'] as const).map(async (name) => {
            await context.callTool('look', { ms: delays[name] })
            return branch(context, name)
          }),
        )
      const handle = async ({ content }: AskAgentCommand, context: AgentContext) => {
        if (context.agentType !== 'child') return isInStep ? context.step('both', () => both(context)) : both(context)
        await run(String(content))
        return content
      }
      return house.work(handle, { capabilities, tools: { look, note } })
    }
    const first = await hire({ a: 0, b: isSecondMade ? 50 : -1 })
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => {
      const results = Object.keys(await house.redis.hgetall(house.keys.journal('s', 'm'))).filter(
        (key) => key[0] === '=',
      )
      return ran.length === (isSecondMade ? 2 : 1) && (!isSecondMade || results.length > 0)
    })
    await first.stop()
    await hire({ a: 300, b: 0 })
    expect(await client.result({ ...ref, timeoutMs: 20_000 })).toMatchObject({ status: 'COMPLETED', data: ['a', 'b'] })
    return ran
  }

  test.each<[string, Branch, boolean?]>([
    ['calls', call],
    ['calls in a step', call, true],
    [
      'calls without an answer',
      async (context, name) => {
        await context.callAgent({ ...child(name), waitForReply: false })
        return name
      },
    ],
  ])('may swap places, though only one had come to its call: %s', async (_, branch, isInStep) => {
    expect(await swapped(branch, false, isInStep)).toEqual(['a', 'b'])
  })

  test('may swap places: groups, and what is at its end is not run again: tools', async () => {
    const group: Branch = async (context, name) => {
      const [reply] = await context.dispatchGroup([child(name)])
      return reply !== undefined && 'content' in reply ? reply.content : reply
    }
    expect(await swapped(group, true)).toEqual(['a', 'b', 'a'])
    expect(await swapped((context, name) => context.callTool('note', { name }), true)).toEqual(['a', 'b', 'a'])
  })

  test('may not call something else, in a step either', async () => {
    const house = new House()
    const handle = (_: unknown, context: AgentContext) => context.step('both', () => call(context, context.workerId))
    const first = await house.work(handle, { workerId: 'w-1' })
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.listTasks({ sessionId: 's' })).length === 2)
    await first.stop()
    await house.work(handle, { workerId: 'w-2' })
    expect((await client.result({ ...ref, timeoutMs: 20_000 })).error?.code).toBe('GW_NON_DETERMINISM')
  })
})
