import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { GatewayError, TerminalError } from '../../src/errors.ts'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import { unhandledRejections } from '../support/rejections.ts'
import { collect, FunctionWorker, Gate, House } from './harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

/** Runs one task and holds what is told of its end together: stream, record, result, streams of tasks. */
async function endOf(house: House, options: { timeoutMs?: number } = {}) {
  const client = house.client()
  const { messageId } = await client.sendMessage(send)
  const result = await client.result({ sessionId: 's', messageId, timeoutMs: options.timeoutMs ?? 10_000 })
  await house.settled()
  const [task, events, dones] = await Promise.all([
    client.getTask({ sessionId: 's', messageId }),
    collect(client.subscribe('s', { messageId, follow: false })),
    house.dones('s', messageId),
  ])
  expect(dones).toHaveLength(1)
  expect(events.at(-1)).toMatchObject({ type: 'done', status: result.status })
  expect(task).toMatchObject({ status: result.status, workerId: 'w', attempt: 1, finishedAt: expect.any(Number) })
  return { result, done: dones[0] as { data: Record<string, unknown> }, events, messageId }
}

function sourError(): Error {
  const sour = () => {
    throw new Error('not me')
  }
  return Object.defineProperty(new Error('x'), 'message', { get: sour })
}

function bareCycle(): object {
  const cycle = Object.create(null)
  cycle.self = cycle
  return cycle
}

/** Each of its traps throws. */
function sourProxy(): object {
  const sour = () => {
    throw new Error('not me')
  }
  return new Proxy({}, new Proxy({}, { get: () => sour }))
}

describe('a task ends once, with one done event,', () => {
  test.each([
    ['a text', 'hello', 'hello', 'hello'],
    ['an object', { answer: [1, null] }, { answer: [1, null] }, ''],
    ['an object with content', { content: 'words', n: 1 }, { content: 'words', n: 1 }, 'words'],
    ['nothing', undefined, null, ''],
    ['null', null, null, ''],
    ['zero', 0, 0, ''],
    ['false', false, false, ''],
    ['an empty text', '', '', ''],
    ['a date', new Date(0), '1970-01-01T00:00:00.000Z', '1970-01-01T00:00:00.000Z'],
    ['odd text', 'ü\u0000\n漢字😀"\\', 'ü\u0000\n漢字😀"\\', 'ü\u0000\n漢字😀"\\'],
    ['half a character', { content: 'x\uD83D' }, { content: 'x\uD83D' }, 'x\uFFFD'],
  ])('that returned %s', async (_what, returned, data, content) => {
    const house = new House()
    await house.work(() => returned, { workerId: 'w' })
    const { result, done, messageId } = await endOf(house)
    expect(result).toEqual({ status: 'COMPLETED', data, content, attempts: 1, messageId })
    expect(done.data).toEqual({ status: 'COMPLETED', result: data })
  })

  test('whose result is what was streamed', async () => {
    const house = new House()
    await house.work(
      async (_command, context) => {
        for (const word of ['The ', 'answer ', 'is ', '42']) void context.emitChunk(word)
      },
      { workerId: 'w' },
    )
    const { result, events } = await endOf(house)
    expect(result).toMatchObject({ status: 'COMPLETED', data: null, content: 'The answer is 42' })
    expect(events.map((event) => (event.type === 'chunk' ? event.content : event.type))).toEqual([
      ...['The ', 'answer ', 'is ', '42', 'done'],
    ])
  })

  test.each([
    ['an error', () => new TypeError('no such city'), 'GW_TASK_FAILED', 'no such city'],
    [
      'an error without text',
      () => Object.assign(new RangeError('x'), { message: '' }),
      'GW_TASK_FAILED',
      'RangeError',
    ],
    ['a terminal error', () => new TerminalError('never'), 'GW_TASK_FAILED', 'never'],
    [
      'an error of this library',
      () => new GatewayError('GW_TIMEOUT', { what: 'it', timeoutMs: 1 }),
      'GW_TIMEOUT',
      'it did not come within 1 ms',
    ],
    ['a text', () => 'plain words', 'GW_TASK_FAILED', 'plain words'],
    ['an object', () => ({ reason: 7 }), 'GW_TASK_FAILED', '{"reason":7}'],
    ['undefined', () => undefined, 'GW_TASK_FAILED', 'undefined'],
    ['null', () => null, 'GW_TASK_FAILED', 'null'],
    ['a symbol', () => Symbol('odd'), 'GW_TASK_FAILED', 'Symbol(odd)'],
    [
      'an error whose message is an object',
      () => Object.assign(new Error('x'), { message: { code: 404 } }),
      'GW_TASK_FAILED',
      '{"code":404}',
    ],
    ['an error whose message is a number', () => Object.assign(new Error('x'), { message: 7 }), 'GW_TASK_FAILED', '7'],
    ['an error whose message throws', sourError, 'GW_TASK_FAILED', 'an object that cannot be shown'],
    ['a cycle without a prototype', bareCycle, 'GW_TASK_FAILED', 'an object that cannot be shown'],
    ['what throws at every look', sourProxy, 'GW_TASK_FAILED', 'an object that cannot be shown'],
  ])('that threw %s', async (_what, thrown, code, message) => {
    const house = new House()
    let runs = 0
    // The default logger looks closely at an error.
    const logger = pino({}, { write: () => undefined })
    await house.work(
      () => {
        runs += 1
        throw thrown()
      },
      { workerId: 'w', logger },
    )
    const { result, done, messageId } = await endOf(house)
    expect(result).toEqual({
      status: 'FAILED',
      data: null,
      content: '',
      error: { code, message },
      attempts: 1,
      messageId,
    })
    expect(done.data).toEqual({ status: 'FAILED', error: { code, message } })
    expect(runs).toBe(1)
  })

  test('whose folder cannot be removed, which is said, and holds up nothing', async () => {
    const house = new House()
    const workspaceDir = await mkdtemp(join(tmpdir(), 'byclaw-ends-'))
    onTestFinished(() => rm(workspaceDir, { recursive: true, force: true }))
    const worker = await house.work(
      async (_command, context) => {
        await context.workspace.write('a', 'b')
        await rm(workspaceDir, { recursive: true })
        await writeFile(workspaceDir, 'no folder any more')
        return 'done'
      },
      { workerId: 'w', workspaceDir },
    )
    const { messageId, result } = await endOf(house)
    expect(result).toMatchObject({ status: 'COMPLETED', data: 'done' })
    await house.settled()
    await worker.stop()
    const lines = house.logger.lines.filter(({ level, fields }) => level !== 'debug' && 'err' in fields)
    expect(lines).toMatchObject([
      { level: 'warn', message: 'the workspace of a task was not removed', fields: { messageId } },
    ])
  })

  test('whose failure is logged once, with its ids', async () => {
    const house = new House()
    await house.work(
      () => {
        throw new Error('boom')
      },
      { workerId: 'w' },
    )
    const { messageId } = await endOf(house)
    const errors = house.logger.lines.filter(({ level }) => level === 'error')
    expect(errors).toEqual([
      {
        level: 'error',
        message: 'task failed',
        fields: expect.objectContaining({ workerId: 'w', sessionId: 's', messageId, code: 'GW_TASK_FAILED' }),
      },
    ])
  })

  test.each([
    [
      'cyclic',
      () => {
        const cyclic: Record<string, unknown> = {}
        cyclic.self = cyclic
        return cyclic
      },
    ],
    ['a BigInt', () => ({ n: 1n })],
    [
      'moody',
      () => ({
        toJSON: () => {
          throw new Error('not me')
        },
      }),
    ],
  ])('whose result is %s and cannot be recorded', async (_what, make) => {
    const house = new House()
    await house.work(make, { workerId: 'w' })
    const { result } = await endOf(house)
    expect(result).toMatchObject({ status: 'FAILED', data: null, error: { code: 'GW_INVALID_ARGUMENT' } })
    expect(result.error?.message).toMatch(/^the result of processCommand is invalid: ./)
  })

  test('whose result turns sour between two looks', async () => {
    const house = new House()
    let runs = 0
    await house.work(
      () => {
        runs += 1
        let looks = 0
        const look = () => {
          looks += 1
          if (looks > 1) throw new Error('not again')
          return 'fine'
        }
        return Object.defineProperty({}, 'content', { get: look })
      },
      { workerId: 'w' },
    )
    expect((await endOf(house)).result).toMatchObject({ status: 'FAILED', error: { message: 'not again' } })
    expect(runs).toBe(1)
  })

  test('whose result says something else each time it is asked for its JSON: stream and record have the first', async () => {
    const house = new House()
    let looks = 0
    const moody = {
      toJSON: () => {
        looks += 1
        return `look ${looks}`
      },
    }
    await house.work(() => moody, { workerId: 'w' })
    const { result, done } = await endOf(house)
    expect([result.data, done.data['result'], looks]).toEqual(['look 1', 'look 1', 1])
  })

  test('whose result is too large: in bytes, exactly', async () => {
    const house = new House()
    const results = ['x'.repeat(998), 'x'.repeat(999), 'ü'.repeat(499), 'ü'.repeat(500)]
    await house.work((command) => results[Number(command.content)], { workerId: 'w', maxPayloadBytes: 1_000 })
    const client = house.client()
    const all = await Promise.all(results.map((_, index) => client.ask({ ...send, content: `${index}` })))
    expect(all.map(({ status }) => status)).toEqual(['COMPLETED', 'FAILED', 'COMPLETED', 'FAILED'])
    expect(all[1]?.error).toEqual({
      code: 'GW_PAYLOAD_TOO_LARGE',
      message: 'the result of processCommand has 1001 bytes, the limit is 1000',
    })
    await house.settled()
  })

  test('that took too long, with a signal to its handler, whether that listens or not', async () => {
    const house = new House()
    let heard: unknown
    await house.work(
      (command, context) =>
        new Promise((_, reject) => {
          context.signal.addEventListener('abort', () => {
            heard = context.signal.reason
            if (command.content === 'hi') reject(context.signal.reason)
          })
        }),
      { workerId: 'w', taskTimeoutMs: 60 },
    )
    const expected = { code: 'GW_TASK_TIMEOUT', message: 'the attempt took longer than 60 ms' }
    expect((await endOf(house)).result).toMatchObject({ status: 'FAILED', data: null, error: expected })
    expect(heard).toMatchObject({ code: 'GW_TASK_TIMEOUT' })
    const deaf = await house.client().ask({ ...send, content: 'deaf' })
    expect(deaf).toMatchObject({ status: 'FAILED', error: expected })
    await house.settled()
  })

  test('and frees its slot when it took too long', async () => {
    const house = new House()
    const worker = await house.work(
      (command) => (command.content === 'stuck' ? new Promise(() => undefined) : 'done'),
      { workerId: 'w', taskTimeoutMs: 50, maxConcurrency: 1 },
    )
    const client = house.client()
    const stuck = client.ask({ ...send, content: 'stuck' })
    const next = client.ask({ ...send, content: 'next' })
    expect((await stuck).status).toBe('FAILED')
    expect((await next).data).toBe('done')
    expect(worker.running).toBe(0)
  })

  test('whose handler throws at once, without a promise', async () => {
    const house = new House()
    const rude = new FunctionWorker(['agent'], () => null)
    rude.processCommand = () => {
      throw new Error('rude')
    }
    const running = await runWorker({
      ...{ redis: house.url, keyPrefix: house.prefix, logger: house.logger, worker: rude, workerId: 'w' },
      retry: { maxAttempts: 1 },
    })
    onTestFinished(() => running.stop())
    expect((await endOf(house)).result).toMatchObject({ status: 'FAILED', error: { message: 'rude' } })
  })
})

describe('what is said', () => {
  test('comes in order, without awaiting, with all that belongs to it', async () => {
    const house = new House()
    await house.work(async (_command, context) => {
      void context.emitState('thinking')
      void context.emitState({ state: 'searching', detail: { n: 1 } })
      void context.emitChunk('a')
      void context.emitChunk({ content: 'b', role: 'tool' }, { metadata: { lang: 'de' } })
      void context.emitData({ any: 'json' })
      void context.emitArtifact({ name: 'x.json', url: 'https://x', mimeType: 'application/json' })
      return 1
    })
    const client = house.client()
    const events: SessionEvent[] = []
    const result = await client.ask({ ...send, onEvent: (event) => events.push(event) })
    expect(result.content).toBe('ab')
    const origin = { sessionId: 's', messageId: result.messageId, agentType: 'agent', attempt: 1 }
    expect(events).toEqual(
      [
        { type: 'state', state: 'thinking' },
        { type: 'state', state: 'searching', detail: { n: 1 } },
        { type: 'chunk', content: 'a' },
        { type: 'chunk', content: 'b', role: 'tool', metadata: { lang: 'de', attempt: 1 } },
        { type: 'data', data: { any: 'json' } },
        { type: 'artifact', artifact: { name: 'x.json', url: 'https://x', mimeType: 'application/json' } },
        { type: 'done', status: 'COMPLETED', result: 1 },
      ].map((event) => expect.objectContaining({ ...origin, ...event })),
    )
  })

  test('is in Redis when the emit resolves', async () => {
    const house = new House()
    const seen: number[] = []
    await house.work(async (_command, context) => {
      for (let i = 1; i <= 5; i += 1) {
        await context.emitChunk(`${i}`)
        seen.push(await house.redis.xlen(house.keys.data('s')))
      }
    })
    await house.client().ask(send)
    expect(seen).toEqual([1, 2, 3, 4, 5])
  })

  test.each([
    [
      'a cyclic datum',
      (context: AgentContext) => {
        const cyclic: Record<string, unknown> = {}
        cyclic.self = cyclic
        return context.emitData(cyclic)
      },
    ],
    ['a chunk that is no text', (context: AgentContext) => context.emitChunk(7 as never)],
    ['no chunk at all', (context: AgentContext) => context.emitChunk(undefined as never)],
    ['a state that is no text', (context: AgentContext) => context.emitState({} as never)],
    ['an artifact without a name', (context: AgentContext) => context.emitArtifact({} as never)],
  ])('and cannot be said (%s) rejects; the rest goes on', async (_what, emit) => {
    const house = new House()
    await house.work(async (_command, context) => {
      await context.emitChunk('before ')
      await expect(emit(context)).rejects.toThrow(expect.objectContaining({ code: 'GW_INVALID_ARGUMENT' }))
      await context.emitChunk('after')
    })
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED', content: 'before after' })
  })

  test('after the end is refused, and nothing of it is written', async () => {
    const house = new House()
    const gate = new Gate()
    let late: Promise<unknown> | undefined
    await house.work((_command, context) => {
      late = gate.pass().then(() => Promise.allSettled([context.emitChunk('late'), context.emitData('late')]))
    })
    const { messageId } = await house.client().ask(send)
    gate.open()
    expect(await late).toEqual(
      Array.from({ length: 2 }, () => ({ status: 'rejected', reason: expect.objectContaining({ code: 'GW_CLOSED' }) })),
    )
    await pause(20)
    expect((await house.events('s')).map(({ event_type }) => event_type)).toEqual(['done'])
    expect(await house.dones('s', messageId)).toHaveLength(1)
  })

  test('after the end and without awaiting does not end the process', async () => {
    const house = new House()
    const rejections = unhandledRejections()
    const gate = new Gate()
    await house.work((_command, context) => {
      void gate.pass().then(() => {
        void context.emitChunk('late')
        void context.emitState('late')
        void context.emitArtifact({ name: 'late' })
        void context.emitData('late')
      })
    })
    await house.client().ask(send)
    gate.open()
    await pause(50)
    expect(rejections).toEqual([])
  })
})

test('a handler that changes the header of its command fails, and what is written of its task goes on under its ids', async () => {
  const house = new House()
  await house.work(async (command, context) => {
    await context.emitChunk('before')
    Object.assign(command.header, { sessionId: 'other', messageId: 'other' })
  })
  const { messageId, status, error } = await house.client().ask(send)
  expect({ status, error }).toMatchObject({
    status: 'FAILED',
    error: { message: expect.stringContaining('read only') },
  })
  expect(await house.dones('s', messageId)).toHaveLength(1)
  await house.settled()
})

test('the context says who and what', async () => {
  const house = new House()
  let seen: Record<string, unknown> = {}
  await house.work(
    async (command, context) => {
      const { sessionId, messageId, traceId, agentType, workerId, attempt, metadata, userCode, fencingToken } = context
      seen = { sessionId, messageId, traceId, agentType, workerId, attempt, metadata, userCode, fencingToken }
      seen.header = { ...command.header }
      seen.extra = command.extraPayload
      seen.cancelled = context.isCancelled
      context.throwIfCancelled()
      seen.workers = await context.getActiveWorkers()
    },
    { workerId: 'w', maxConcurrency: 7 },
  )
  const { messageId } = await house.client().ask({
    ...{ ...send, traceId: 'trace-1', userCode: 'u-1', userName: 'Ann', metadata: { a: 1 } },
    extraPayload: { b: 2 },
  })
  expect(seen).toMatchObject({
    ...{ sessionId: 's', messageId, traceId: 'trace-1', agentType: 'agent', workerId: 'w', attempt: 1 },
    ...{ metadata: { a: 1 }, userCode: 'u-1', fencingToken: 1, extra: { b: 2 }, cancelled: false },
    header: { messageId, sessionId: 's', userName: 'Ann', targetAgentType: 'agent' },
    workers: [
      {
        workerId: 'w',
        capabilities: ['agent'],
        maxConcurrency: 7,
        running: expect.any(Number),
        host: expect.any(String),
      },
    ],
  })
})
