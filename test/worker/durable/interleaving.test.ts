import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AgentContext } from '../../../src/agent/context.ts'
import { AgentCallError } from '../../../src/errors.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { sized } from '../../support/size.ts'
import { House } from '../harness.ts'

interface Act {
  readonly op: 'good' | 'bad' | 'group' | 'step' | 'word' | 'large' | 'sleep' | 'now' | 'uuid' | 'hops'
  /** How long it takes, or how many microtasks. */
  readonly size: number
}

/** A handler in small. All that does the same has the same name, so that whoever asks first gets the first result. */
type Program = Act | { readonly op: 'seq' | 'all' | 'race'; readonly parts: readonly Program[] }

type See = (what: string, value: unknown) => unknown

async function run(program: Program, context: AgentContext, see: See): Promise<unknown> {
  if (!('parts' in program)) return see(program.op, await act(program, context))
  const { op, parts } = program
  if (op === 'all') return see(op, await Promise.all(parts.map((part) => run(part, context, see))))
  if (op === 'race') return see(op, await Promise.race(parts.map((part) => run(part, context, see))))
  let last: unknown
  for (const part of parts) last = await run(part, context, see)
  return last
}

async function act({ op, size }: Act, context: AgentContext): Promise<unknown> {
  switch (op) {
    case 'hops':
      for (let i = 0; i < size; i += 1) await null
      return size
    case 'uuid':
      return context.uuid()
    case 'now':
      return context.now()
    case 'sleep':
      return context.sleep(size)
    case 'group': {
      const tasks = ['good', 'bad'].map((targetAgentType) => ({ targetAgentType, content: String(size) }))
      return (await context.dispatchGroup(tasks)).map((reply) => ('data' in reply ? reply.data : reply.messageId))
    }
    case 'good':
    case 'bad':
      return context.callAgent({ targetAgentType: op, content: String(size) }).then(
        ({ data }) => data,
        (error: unknown) => {
          if (error instanceof AgentCallError) return error.message
          throw error
        },
      )
    default:
      return context.step('step', async () => {
        if (size > 0) await pause(size)
        if (op === 'word') await context.emitChunk('a word ')
        return String(Math.random()).padEnd(op === 'large' ? 33_000 : 0)
      })
  }
}

/** Programs out of such acts. */
function programs(ops: readonly Act['op'][]): fc.Arbitrary<Program> {
  const depthIdentifier = 'program'
  return fc.letrec<{ program: Program; leaf: Act; node: Program }>((tie) => ({
    program: fc.oneof({ maxDepth: 3, depthIdentifier }, tie('leaf'), tie('node'), tie('node')),
    leaf: fc.record({ op: fc.constantFrom(...ops), size: fc.constantFrom(0, 0, 5, 10, 10, 30) }),
    node: fc.record({
      op: fc.constantFrom('seq', 'seq', 'all', 'race'),
      parts: fc.array(tie('program'), { minLength: 2, maxLength: 4, depthIdentifier }),
    }),
  })).program
}

interface Conditions {
  readonly suspendAfterMs: number
  /** Workers stop so often while the handlers run. */
  readonly stops?: number
  /** The attempts that fail at the end. */
  readonly failures?: number
}

/** Runs programs live and again, and answers what each of their runs has seen, in its order. */
async function traces(some: readonly Program[], conditions: Conditions): Promise<string[][][]> {
  const { suspendAfterMs, stops = 0, failures = 0 } = conditions
  const house = new House()
  const seen = some.map((): string[][] => [])
  const retry = { maxAttempts: failures + 1, backoff: { type: 'fixed', delayMs: 10 } } as const
  const hire = () =>
    house.work(
      async ({ content }, context) => {
        const trace: string[] = []
        seen[Number(content)]?.push(trace)
        await run(some[Number(content)] as Program, context, (what, value) => {
          trace.push(`${what} ${JSON.stringify(value)?.slice(0, 100)}`)
          return value
        })
        trace.push('end')
        if (context.attempt <= failures) throw new Error('again')
        await context.callAgent({ targetAgentType: 'last', content: 'x' })
      },
      { suspendAfterMs, retry },
    )
  const callees = await house.work(
    async ({ content }, { agentType }) => {
      // Many come to their ends at the same time.
      if (content !== '0') await pause(Number(content))
      if (agentType === 'bad') throw new Error(String(Math.random()))
      return Math.random()
    },
    { capabilities: ['good', 'bad'], maxConcurrency: 1_000, fetchCount: 100 },
  )
  const client = house.client()
  const refs = some.map((_, i) => ({ sessionId: `s-${i}`, messageId: 'm', content: String(i) }))
  await Promise.all(refs.map((ref) => client.sendMessage({ ...ref, targetAgentType: 'agent' })))
  let worker = await hire()
  for (let i = 0; i < stops; i += 1) {
    await pause(Math.random() * 50)
    const next = await hire()
    await worker.stop()
    worker = next
  }
  const late = async () => {
    const tasks = await Promise.all(refs.map((ref) => client.getTask(ref)))
    return refs.flatMap((_, i) => {
      const isThere = seen[i]?.at(-1)?.includes('end') && tasks[i]?.status === 'WAITING_AGENT'
      return isThere ? [] : [{ program: some[i], task: tasks[i], seen: seen[i] }]
    })
  }
  await waitFor(async () => (await late()).length === 0, { timeoutMs: 10_000 }).catch(async () => {
    throw new Error(`did not come to its end: ${JSON.stringify((await late())[0])}`)
  })
  const last = await house.work(() => null, { capabilities: ['last'] })
  const ends = await Promise.all(refs.map((ref) => client.result({ ...ref, timeoutMs: 10_000 })))
  expect(ends.filter(({ status }) => status !== 'COMPLETED')).toEqual([])
  await Promise.all([worker, callees, last].map((one) => one.stop()))
  return seen
}

const COUNT = sized({ short: 50, long: 500 })
const AT_ONCE = 50

describe('a handler that runs again sees what it saw before, in the same order,', () => {
  const steps = ['step', 'step', 'word', 'large', 'now', 'uuid', 'hops', 'hops'] as const
  const all = [...steps, 'sleep', 'good', 'good', 'bad', 'group'] as const

  test.each([
    { name: 'suspended wherever it waits', ops: all, suspendAfterMs: 0 },
    { name: 'suspended when it waits for long', ops: all, suspendAfterMs: 20 },
    { name: 'when workers stop', ops: all, suspendAfterMs: 20, stops: 4 },
    // What fails is called again in the next attempt, and comes later then.
    {
      name: 'after failed attempts',
      ops: [...steps, 'sleep', 'good', 'good'] as const,
      suspendAfterMs: 20,
      failures: 2,
    },
  ])('$name', async ({ ops, ...conditions }) => {
    const seed = Date.now() % 1_000_000
    const sample = fc.sample(programs(ops), { numRuns: COUNT, seed })
    for (let from = 0; from < COUNT; from += AT_ONCE) {
      const some = sample.slice(from, from + AT_ONCE)
      const seen = await traces(some, conditions)
      seen.forEach((runs, i) => {
        expect(runs.length).toBeGreaterThan(1)
        const whole = runs.at(-1) as string[]
        expect(whole).toContain('end')
        for (const trace of runs) {
          const length = Math.min(trace.length, whole.length)
          const about = `seed ${seed}, ${JSON.stringify(some[i])}`
          expect(trace.slice(0, length), about).toEqual(whole.slice(0, length))
        }
      })
    }
  })
})
