import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { AgentContext } from '../../src/agent/context.ts'
import { tool } from '../../src/agent/tool.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { uncaughtExceptions, unhandledRejections } from '../support/rejections.ts'
import { House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }
const ids = { sessionId: 's', messageId: 'm', traceId: expect.any(String), attempt: 1 }

function broken(): never {
  throw new Error('it broke')
}

const about = { description: 'Breaks.', input: z.object({}), execute: broken }
const TOOLS = { breaks: tool(about), 'breaks-durably': tool({ ...about, durable: true }) }

/** What was complained of that concerns a task. */
function complaints({ logger }: House) {
  return logger.lines.filter(({ level, fields }) => (level === 'warn' || level === 'error') && 'messageId' in fields)
}

const line = (fields: object) => ({
  level: 'warn',
  fields: expect.objectContaining({ ...ids, ...fields }),
  message: 'a call that nobody awaited has failed',
})

/** Calls that fail; what the log says of them, and the error. */
const failing: [name: string, call: (context: AgentContext) => Promise<unknown>, about: object, error: object][] = [
  [
    'callAgent',
    (context) => context.callAgent({ targetAgentType: 'nobody', content: 'x', timeoutMs: 20 }),
    { call: 'callAgent' },
    { code: 'GW_AGENT_CALL_FAILED' },
  ],
  [
    'dispatchGroup',
    (context) => context.dispatchGroup([{ targetAgentType: 'no name!', content: 'x' }]),
    { call: 'dispatchGroup' },
    { code: 'GW_INVALID_ARGUMENT' },
  ],
  [
    'askUser',
    (context) => context.askUser({ prompt: 'Which one?', timeoutMs: 20 }),
    { call: 'askUser' },
    { code: 'GW_TIMEOUT' },
  ],
  ['step', (context) => context.step('load', broken), { call: 'step', name: 'load' }, { message: 'it broke' }],
  ['sleep', (context) => context.sleep(-1), { call: 'sleep' }, { code: 'GW_INVALID_ARGUMENT' }],
  [
    'callTool',
    (context) => context.callTool('breaks', {}),
    { call: 'callTool', name: 'breaks' },
    { message: 'it broke' },
  ],
  [
    'callTool of a durable one',
    (context) => context.callTool('breaks-durably', {}),
    { call: 'callTool', name: 'breaks-durably' },
    { message: 'it broke' },
  ],
  [
    'workspace.read',
    (context) => context.workspace.read('not/there', 'utf8'),
    { call: 'workspace.read', name: 'not/there' },
    { code: 'ENOENT' },
  ],
  [
    'workspace.write',
    (context) => context.workspace.write('../out', 'x'),
    { call: 'workspace.write', name: '../out' },
    { code: 'GW_PATH_OUTSIDE_WORKSPACE' },
  ],
  ['getHistory', (context) => context.getHistory(), { call: 'getHistory' }, { code: 'GW_NO_HISTORY' }],
]

describe.each(failing)('%s that fails', (_, call, about, error) => {
  test('and that nobody awaits is told in the log once, with the ids of its task', async () => {
    const unheard = unhandledRejections()
    const house = new House()
    const handle = async (_: unknown, context: AgentContext) => {
      void call(context)
      await context.emitChunk('a')
      // By then the other one has failed.
      await call(context).catch(() => undefined)
      return null
    }
    await house.work(handle, { tools: TOOLS, history: false })
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED', content: 'a' })
    await waitFor(() => complaints(house).length > 0)
    await pause(30)
    expect(complaints(house)).toEqual([line({ ...about, err: expect.objectContaining(error) })])
    expect(unheard).toEqual([])
  })

  test('and that nobody awaits is told also where it fails after the handler’s end', async () => {
    const house = new House()
    const handle = (_: unknown, context: AgentContext) => {
      setTimeout(() => void call(context), 50)
      return 'early'
    }
    await house.work(handle, { tools: TOOLS, history: false })
    await house.client().ask(send)
    await waitFor(() => complaints(house).length > 0)
    await pause(30)
    expect(complaints(house)).toEqual([line({ ...about, err: expect.any(Error) })])
  })

  test('is the handler’s affair if he awaits it, at once or in the end', async () => {
    const house = new House()
    const heard: unknown[] = []
    const handle = async (_: unknown, context: AgentContext) => {
      const note = (error: unknown) => void heard.push(error)
      await call(context).catch(note)
      await Promise.all([call(context), context.now()]).catch(note)
      const later = call(context)
      await pause(100)
      try {
        await later
      } catch (error) {
        note(error)
      }
      return null
    }
    await house.work(handle, { tools: TOOLS, history: false })
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED' })
    await pause(30)
    const expected = expect.objectContaining(error)
    expect([heard, complaints(house)]).toEqual([[expected, expected, expected], []])
  })
})

test('what a cancel breaks off is told by the end of the task alone', async () => {
  const house = new House()
  const handle = async (_: unknown, context: AgentContext) => {
    void context.callAgent({ targetAgentType: 'nobody', content: 'x' })
    void context.askUser('Which one?')
    await context.sleep(60_000)
  }
  await house.work(handle)
  const client = house.client()
  await client.sendMessage(send)
  await waitFor(async () => (await house.redis.hlen(house.keys.journal('s', 'm'))) >= 3)
  await client.cancelTask({ sessionId: 's', messageId: 'm' })
  await expect(client.result({ sessionId: 's', messageId: 'm' })).resolves.toMatchObject({ status: 'CANCELLED' })
  await pause(30)
  expect(complaints(house)).toEqual([])
})

describe('what fails with an error that throws when it is looked at', () => {
  const sour = () => {
    const get = () => {
      throw new Error('do not look')
    }
    throw Object.defineProperty(new Error('sour'), 'request', { enumerable: true, get })
  }
  const TOLD = [
    'a call that nobody awaited has failed',
    'an event that nobody awaited was refused; more of this attempt are not logged',
  ]

  test.each<[string, (context: AgentContext) => unknown]>([
    ['a step', (context) => context.step('load', sour)],
    ['a tool', (context) => context.callTool('sour', {})],
    ['an event', (context) => context.emitData({ toJSON: () => sourCause() })],
  ])('%s: the task ends, the process goes on, and the log is told of it', async (_what, call) => {
    const uncaught = uncaughtExceptions()
    const house = new House()
    const lines: string[] = []
    // The default logger looks closely at an error.
    const logger = pino({}, { write: (text) => void lines.push(text) })
    let runs = 0
    const handle = async (_: unknown, context: AgentContext) => {
      runs += 1
      void call(context)
      await pause(30)
      setTimeout(() => void call(context), 50)
      return 'fine'
    }
    const tools = { sour: tool({ ...about, execute: sour }) }
    await house.work(handle, { tools, history: false, logger })
    expect(await house.client().ask({ ...send, timeoutMs: 5_000 })).toMatchObject({ status: 'COMPLETED', data: 'fine' })
    await pause(100)
    expect([runs, uncaught]).toEqual([1, []])
    expect(lines.filter((text) => TOLD.some((told) => text.includes(told))).length).toBeGreaterThan(0)
  })

  function sourCause(): never {
    const get = () => {
      throw new Error('do not look')
    }
    throw Object.defineProperty(new Error('sour'), 'stack', { get })
  }
})

test('of very many the first ten are told', async () => {
  const house = new House()
  const handle = async (_: unknown, context: AgentContext) => {
    for (let i = 0; i < 50; i += 1) await context.callTool('breaks', {}).catch(() => undefined)
    for (let i = 0; i < 50; i += 1) void context.callTool('breaks', { i })
    await pause(20)
    for (let i = 0; i < 50; i += 1) void context.callTool('breaks', { i })
    return null
  }
  await house.work(handle, { tools: TOOLS, history: false })
  expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED' })
  await waitFor(() => complaints(house).length === 10)
  await pause(30)
  expect(complaints(house)).toHaveLength(10)
})
