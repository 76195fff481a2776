import { Writable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { AgentContext } from '../../src/agent/context.ts'
import {
  composeFlushes,
  composeInterceptors,
  type EmitInput,
  type Interceptor,
  type Interceptors,
} from '../../src/agent/interceptor.ts'
import { tool } from '../../src/agent/tool.ts'
import type { AskAgentCommand } from '../../src/protocol/command.ts'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { unhandledRejections } from '../support/rejections.ts'
import { Gate, House } from '../worker/harness.ts'
import { make } from './support.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }
const echo = tool({ description: 'echo', input: z.object({ text: z.string() }), execute: ({ text }) => text })
const around = (pluginId: string, interceptors: Interceptors, priority = 0) =>
  make(pluginId, { interceptors, priority })

async function ask(house: House, request: object = {}) {
  const events: SessionEvent[] = []
  const result = await house.client().ask({ ...send, ...request, onEvent: (event) => events.push(event) })
  const said = events.flatMap((event) =>
    event.type === 'chunk' ? [event.content] : event.type === 'rewind' ? ['<'] : [],
  )
  return { ...result, said }
}

describe('what an interceptor calls on and does not await ends no process', () => {
  const broken = async (_: AskAgentCommand, context: AgentContext) => {
    await context.emitChunk('x').catch(() => undefined)
    await context.callTool('nope', {}).catch(() => undefined)
    throw new Error('it broke')
  }
  const bad = (input: EmitInput) => ({ ...input, event: { type: 'chunk' } as never })

  /** Runs a task that fails wherever it can; what the log says of what was called on. */
  async function told(interceptors: Interceptors) {
    const unheard = unhandledRejections()
    const house = new House()
    await house.work(broken, { plugins: [around('p', interceptors)] })
    await ask(house)
    await pause(50)
    expect(unheard).toEqual([])
    return house.logger.lines.filter(({ message }) => message.includes('called on'))
  }

  test('and is told where it fails', async () => {
    const lines = await told({
      task: async (input, next) => void next(input),
      toolCall: async (input, next) => void next(input),
      emit: async (input, next) => void next(bad(input)),
    })
    const ids = { sessionId: 's', messageId: expect.any(String), traceId: expect.any(String), attempt: 1 }
    const line = (interceptor: string) => ({
      level: 'warn',
      fields: expect.objectContaining({ ...ids, interceptor, pluginId: 'p', err: expect.any(Error) }),
      message: expect.any(String),
    })
    expect(lines).toHaveLength(3)
    for (const name of ['task', 'toolCall', 'emit']) expect(lines).toContainEqual(line(name))
  })

  test('and is its own affair if it does later', async () => {
    const later = async <Result>(called: Promise<Result>) => {
      await pause(20)
      return called
    }
    const lines = await told({
      task: (input, next) => later(next(input)),
      toolCall: (input, next) => later(next(input)),
      emit: (input, next) => later(next(bad(input))),
    })
    expect(lines).toEqual([])
  })

  test('nor does what it calls on after its end', async () => {
    const lines = await told({ emit: async (input, next) => void setTimeout(() => void next(input), 10) })
    expect(lines.map(({ fields }) => fields.err)).toEqual([expect.objectContaining({ code: 'GW_CLOSED' })])
  })
})

describe('the composer', () => {
  const sign =
    (mark: string): Interceptor<string, string> =>
    async (input, next) =>
      `${mark}(${await next(input + mark)})`

  test('puts the first outermost', async () => {
    const all = composeInterceptors([sign('a'), sign('b'), sign('c')])
    expect(await all?.('', async (input) => input)).toBe('a(b(c(abc)))')
    expect(composeInterceptors([])).toBeUndefined()
  })

  test('makes a rejection of whatever one throws, and lets it call on twice or never', async () => {
    const rude = composeInterceptors<string, string>([
      sign('a'),
      () => {
        throw new Error('rude')
      },
    ])
    await expect(rude?.('', async () => '')).rejects.toThrow('rude')
    const twice = composeInterceptors<string, string>([
      async (input, next) => (await next(input)) + (await next(input)),
    ])
    expect(await twice?.('x', async (input) => input)).toBe('xx')
    const never = composeInterceptors<string, string>([async () => 'own'])
    expect(await never?.('x', () => Promise.reject(new Error('not called')))).toBe('own')
  })
})

test('what each lets out when it is asked to goes through those behind it', async () => {
  const holding = (mark: string): Interceptors => {
    let held = ''
    const take = () => {
      const all = held
      held = ''
      return all
    }
    const say = (content: string): EmitInput => ({
      task: {} as never,
      event: { type: 'chunk', content },
      metadata: undefined,
    })
    return {
      emit: async ({ event }) => {
        if (event.type === 'chunk') held += event.content
      },
      flush: async (_input, emit) => emit(say(`${take()}${mark}`)),
    }
  }
  const all = [holding('a'), {}, holding('b')]
  const said: string[] = []
  const last = async ({ event }: EmitInput) => void said.push(event.type === 'chunk' ? event.content : '')
  const input: EmitInput = { task: {} as never, event: { type: 'chunk', content: 'x' }, metadata: undefined }
  await composeInterceptors(all.flatMap(({ emit }) => emit ?? []))?.(input, last)
  expect(said).toEqual([])
  await composeFlushes(all)?.({ task: {} as never }, last)
  expect(said).toEqual(['xab'])
  expect(composeFlushes([{}, { emit: all[0]?.emit }])).toBeUndefined()
})

describe('around a task', () => {
  test('the command and the result can be changed, by priority', async () => {
    const house = new House()
    const marking = (mark: string): Interceptors => ({
      task: async (input, next) => {
        const command = input.command as AskAgentCommand
        return `${mark}(${await next({ ...input, command: command.withContent(`${command.content}${mark}`) })})`
      },
    })
    await house.work(({ content }) => content, {
      plugins: [around('a', marking('a'), 1), around('b', marking('b'), 2)],
    })
    expect((await ask(house)).data).toBe('b(a(hiba))')
  })

  test('what one throws fails the attempt, and is retried like any failure; it may do without the handler', async () => {
    const house = new House()
    let handled = 0
    await house.work(
      () => {
        handled += 1
      },
      {
        plugins: [
          around('p', {
            task: async ({ task }) => {
              if (task.attempt === 1) throw new Error('not yet')
              return 'cached'
            },
          }),
        ],
        retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 1 } },
      },
    )
    const { data, attempts } = await ask(house)
    expect({ data, attempts, handled }).toEqual({ data: 'cached', attempts: 2, handled: 0 })
  })

  test('one that hangs is ended by the task’s timeout', async () => {
    const house = new House()
    await house.work(() => 'done', {
      plugins: [around('p', { task: () => new Promise(() => undefined) })],
      taskTimeoutMs: 50,
    })
    expect((await ask(house)).error?.code).toBe('GW_TASK_TIMEOUT')
  })
})

describe('around a call of a tool', () => {
  test('arguments, output and name can be changed; the arguments are checked behind', async () => {
    const house = new House()
    const upper: Interceptors = {
      toolCall: async (input, next) => {
        if (input.tool === 'shout') return String(await next({ ...input, tool: 'echo' })).toUpperCase()
        return next({ ...input, args: { text: 7 } })
      },
    }
    await house.work(
      async (_command, context) => [
        await context.callTool('shout', { text: 'loud' }),
        await context.callTool('echo', { text: 'x' }).catch((error) => error.code),
      ],
      { plugins: [around('p', upper)], tools: { echo } },
    )
    expect((await ask(house)).data).toEqual(['LOUD', 'GW_TOOL_INPUT_INVALID'])
  })
})

describe('around an event', () => {
  test('it can be changed, dropped and split, and the order stays', async () => {
    const house = new House()
    const emit: Interceptors['emit'] = async (input, next) => {
      const { event } = input
      if (event.type !== 'chunk') return next({ ...input, metadata: { seen: true } })
      if (event.content === 'drop') return
      // The first takes longest: those behind it wait for it.
      if (event.content === '0') await new Promise((resolve) => setTimeout(resolve, 20))
      for (const part of event.content.split(' ')) await next({ ...input, event: { ...event, content: part } })
    }
    await house.work(
      async (_command, context) => {
        const emits = ['0', 'a b', 'drop', 'c'].map((text) => context.emitChunk(text))
        await context.emitState('state')
        void context.emitChunk('last, not awaited')
        await Promise.all(emits)
        return 'done'
      },
      { plugins: [around('p', { emit })] },
    )
    const { said, status } = await ask(house)
    expect({ said, status }).toEqual({ said: ['0', 'a', 'b', 'c', 'last,', 'not', 'awaited'], status: 'COMPLETED' })
    const events = await house.events('s')
    expect(events.find(({ event_type: type }) => type === 'state')?.metadata).toEqual({ attempt: 1, seen: true })
  })

  test('the emit resolves when Redis has it, and a burst is still written in few commits', async () => {
    const house = new House()
    await house.work(
      async (_command, context) => {
        await Promise.all(Array.from({ length: 200 }, (_, index) => context.emitChunk(`${index} `)))
        return (await house.events('s')).length
      },
      { plugins: [around('p', { emit: async (input, next) => next(input) })] },
    )
    const { data, said } = await ask(house)
    expect(data).toBe(200)
    expect(said.join('')).toBe(Array.from({ length: 200 }, (_, index) => `${index} `).join(''))
  })

  test('what one throws is logged and reaches whoever emitted; the event is not written, the others are', async () => {
    const house = new House()
    const emit: Interceptors['emit'] = async (input, next) => {
      if (input.event.type === 'chunk' && input.event.content === 'secret') throw new Error('not that')
      await next(input)
    }
    await house.work(
      async (_command, context) => {
        void context.emitChunk('secret')
        const refused = await context.emitChunk('secret').catch((error) => error.message)
        await context.emitChunk('fine')
        return refused
      },
      { plugins: [around('p', { emit })] },
    )
    const { said, data } = await ask(house)
    expect({ said, data }).toEqual({ said: ['fine'], data: 'not that' })
    const lines = house.logger.lines.filter(({ message }) => message.startsWith('an interceptor threw'))
    expect(lines).toHaveLength(2)
    expect(lines[0]?.fields).toMatchObject({ sessionId: 's', attempt: 1, err: expect.any(Error) })
  })

  test('that what one throws cannot be looked at holds up nothing', async () => {
    const house = new House()
    const shy = Object.defineProperty(new Error('shy'), 'message', {
      get() {
        throw new Error('do not look')
      },
    })
    const emit: Interceptors['emit'] = async (input, next) => {
      if (input.event.type === 'chunk' && input.event.content === 'secret') throw shy
      await next(input)
    }
    const lines: string[] = []
    const logger = pino(new Writable({ write: (chunk, _encoding, done) => done(void lines.push(String(chunk))) }))
    await house.work(
      async (_command, context) => {
        void context.emitChunk('secret')
        await context.emitChunk('fine')
      },
      { plugins: [around('p', { emit })], logger },
    )
    const { said, status } = await ask(house)
    expect({ said, status }).toEqual({ said: ['fine'], status: 'COMPLETED' })
    expect(lines.filter((line) => line.includes('an interceptor threw'))).toHaveLength(1)
  })

  test.each([
    [{ type: 'done', status: 'COMPLETED' }, 'the type of an event is invalid: must be chunk, state, data or artifact'],
    [{ type: 'chunk', content: 7 }, 'the chunk of an interceptor is invalid: must be a text (got 7)'],
    [undefined, 'the type of an event is invalid'],
  ])('what no handler could emit is refused: %j', async (event, message) => {
    const house = new House()
    await house.work(
      async (_command, context) => {
        await context.emitChunk('x')
      },
      { plugins: [around('p', { emit: (input, next) => next({ ...input, event: event as never }) })] },
    )
    const { error, messageId } = await ask(house)
    expect(error?.message).toContain(message)
    expect(await house.dones('s', messageId)).toHaveLength(1)
  })

  test('what one throws when it is asked to let out what it holds takes nothing from those behind it', async () => {
    const house = new House()
    const held: EmitInput[] = []
    const broken: Interceptors = {
      flush: async () => {
        throw new Error('it broke')
      },
    }
    const holding: Interceptors = {
      emit: async (input) => void held.push(input),
      flush: async (_input, emit) => {
        for (const input of held.splice(0)) await emit(input)
      },
    }
    const plugins = [around('broken', broken, 10), around('holding', holding), around('broken-too', broken, -10)]
    await house.work(async (_command, context) => context.emitChunk('all of it'), { plugins })
    const { said, status } = await ask(house)
    expect({ said, status }).toEqual({ said: ['all of it'], status: 'COMPLETED' })
    const lines = house.logger.lines.filter(({ message }) => message.startsWith('an interceptor threw'))
    expect(lines.map(({ fields }) => fields)).toMatchObject([
      { sessionId: 's', err: { message: 'it broke; it broke' } },
    ])
  })

  test('calling on after it has returned is too late', async () => {
    const house = new House()
    const late = deferred<unknown>()
    const emit: Interceptors['emit'] = async (input, next) => {
      setTimeout(() => void next(input).catch((error: unknown) => late.resolve(error)), 1)
    }
    await house.work(async (_command, context) => context.emitChunk('x'), { plugins: [around('p', { emit })] })
    await ask(house)
    expect(await late.promise).toMatchObject({ code: 'GW_CLOSED' })
  })

  test('a task whose events are still on their way is neither ended nor suspended', async () => {
    const house = new House()
    const gate = new Gate()
    const emit: Interceptors['emit'] = async (input, next) => {
      await gate.pass()
      await next(input)
    }
    const child = new Gate()
    let ran = 0
    await house.work(
      async (_command, context) => {
        ran += 1
        void context.emitChunk('slow')
        return (await context.callAgent({ targetAgentType: 'child', content: 'x' })).data
      },
      { plugins: [around('p', { emit })], suspendAfterMs: 0 },
    )
    await house.work(
      async () => {
        await child.pass()
        return 'yes'
      },
      { capabilities: ['child'] },
    )
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    const status = async () => (await client.getTask({ sessionId: 's', messageId }))?.status
    await Promise.all([gate.reached(1), child.reached(1)])
    await new Promise((resolve) => setTimeout(resolve, 300)) // several looks of those who would suspend it
    expect(await status()).toBe('RUNNING')
    gate.open()
    await waitFor(async () => (await status()) === 'WAITING_AGENT')
    child.open()
    expect((await client.result({ sessionId: 's', messageId })).data).toBe('yes')
    const chunks = (await house.events('s')).filter(({ event_type: type }) => type === 'chunk')
    expect({ ran, chunks: chunks.length }).toEqual({ ran: 2, chunks: 1 })
  })

  test('a step has what it says inside of it, and a replay says nothing twice', async () => {
    const house = new House()
    const emit: Interceptors['emit'] = async (input, next) => {
      await new Promise(setImmediate)
      await next(
        input.event.type === 'chunk'
          ? { ...input, event: { ...input.event, content: `[${input.event.content}]` } }
          : input,
      )
    }
    let ran = 0
    const handle = async (_command: unknown, context: AgentContext) => {
      ran += 1
      void context.emitChunk('before')
      await context.step('step', () => {
        void context.emitChunk('inside')
        return 1
      })
      void context.emitChunk('after')
      const answer = await context.askUser('go on?')
      void context.emitChunk('end')
      return answer
    }
    await house.work(handle, { plugins: [around('p', { emit })], suspendAfterMs: 0 })
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    await waitFor(async () => (await client.getTask({ sessionId: 's', messageId }))?.status === 'WAITING_USER')
    const [question] = await client.pendingAsks('s')
    await client.reply({ sessionId: 's', messageId, askId: question?.askId ?? '', content: 'yes' })
    expect((await client.result({ sessionId: 's', messageId })).data).toBe('yes')
    const events = await house.events('s')
    const said = events.flatMap(({ event_type: type, data, metadata }) =>
      type === 'chunk' || type === 'rewind'
        ? [
            [
              type === 'rewind' ? '<' : (data as { content: string }).content,
              (metadata as { step?: string }).step !== undefined,
            ],
          ]
        : [],
    )
    expect(said).toEqual([
      ['[before]', false],
      ['[inside]', true],
      ['[after]', false],
      ['[end]', false],
    ])
    expect(ran).toBe(2)
  })

  test('what is held back of one branch is not taken for what another says whose step ends meanwhile', async () => {
    const house = new House()
    const held: EmitInput[] = []
    const holding: Interceptors = {
      emit: async (input) => void held.push(input),
      flush: async (_input, emit) => {
        for (const input of held.splice(0)) await emit(input)
      },
    }
    const [said, recorded] = [deferred(), deferred()]
    const handle = async (_command: unknown, context: AgentContext) => {
      const broken = context.step('broken', async () => {
        await context.emitChunk('a')
        said.resolve()
        await recorded.promise
        if (context.attempt === 1) throw new Error('it broke')
      })
      await context.step('recorded', async () => {
        await said.promise
        await context.emitChunk('b')
      })
      recorded.resolve()
      await broken
    }
    const retry = { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 1 } } as const
    await house.work(handle, { plugins: [around('p', holding)], retry })
    const { content, attempts, messageId } = await ask(house)
    expect({ content, attempts }).toEqual({ content: 'ba', attempts: 2 })
    const steps = (await house.events('s')).flatMap(({ event_type: type, message_id: id, data, metadata }) =>
      type === 'chunk' && id === messageId
        ? [`${(data as { content: string }).content} ${(metadata as { step?: string }).step}`]
        : [],
    )
    expect(steps).toEqual(['a /step:broken#0', 'b /step:recorded#0', 'b /step:recorded#0', 'a /step:broken#0'])
  })
})
