import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { RetryableError, TerminalError } from '../../src/errors.ts'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { parkedFence } from '../../src/store/fence.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { openStore } from '../redis/harness.ts'
import { agendaOf, collect, envelope, foldText, House } from './harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }
const QUICK = { type: 'fixed', delayMs: 1 } as const
/** A handler that fails so many times before it answers. */
function failing(times: number, error: (attempt: number) => unknown = () => new Error('boom')) {
  const attempts: number[] = []
  const handle = (_command: unknown, { attempt }: AgentContext) => {
    attempts.push(attempt)
    if (attempts.length <= times) throw error(attempt)
    return 'fine'
  }
  return { handle, attempts }
}
const errorsIn = (events: readonly SessionEvent[]) => events.flatMap((event) => (event.type === 'error' ? [event] : []))

describe('a task that fails', () => {
  test('is tried again, says so each time, and its answer is that of the last attempt alone', async () => {
    const house = new House()
    let runs = 0
    await house.work(
      async (_command, context) => {
        runs += 1
        await context.emitChunk(`attempt ${context.attempt}, `)
        void context.emitChunk('not ')
        if (runs < 3) throw new Error(`boom ${runs}`)
        await context.emitChunk('over')
        return 1
      },
      { retry: { maxAttempts: 3, backoff: QUICK }, workerId: 'w' },
    )
    const client = house.client()
    const watching = client.subscribe('s', { messageId: 'm', after: '0' })
    await watching.opened()
    await client.sendMessage(send)
    const events = await collect(watching)
    expect(events.map(({ type, attempt }) => `${attempt} ${type}`)).toEqual([
      ...['1 chunk', '1 chunk', '1 error', '2 rewind', '2 chunk', '2 chunk', '2 error'],
      ...['3 rewind', '3 chunk', '3 chunk', '3 chunk', '3 done'],
    ])
    expect(foldText(events)).toBe('attempt 3, not over')
    for (const [index, error] of errorsIn(events).entries()) {
      expect(error).toMatchObject({ code: 'GW_TASK_FAILED', message: `boom ${index + 1}`, retrying: true })
      expect(error.retryAt).toBeGreaterThanOrEqual(error.timestamp)
    }
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({
      ...{ status: 'COMPLETED', data: 1, content: 'attempt 3, not over', attempts: 3 },
    })
    await house.settled()
    expect([runs, await agendaOf(house), await house.redis.xlen(house.keys.dead('agent'))]).toEqual([3, [], 0])
  })

  test('for the last time ends as FAILED, and lies in the dead letters with the history of its attempts', async () => {
    const house = new House()
    const { handle, attempts } = failing(9, (attempt) => new Error(`boom ${attempt}`))
    await house.work(handle, { retry: { maxAttempts: 3, backoff: QUICK }, workerId: 'w' })
    const client = house.client()
    const watching = client.subscribe('s', { messageId: 'm', after: '0' })
    const answer = await client.ask(send)
    expect(answer).toMatchObject({
      status: 'FAILED',
      error: { code: 'GW_TASK_FAILED', message: 'boom 3' },
      attempts: 3,
    })
    const events = await collect(watching)
    expect(errorsIn(events).map(({ retrying, retryAt }) => [retrying, retryAt !== undefined])).toEqual([
      [true, true],
      [true, true],
      [false, false],
    ])
    expect(events.at(-1)).toMatchObject({ type: 'done', status: 'FAILED' })
    await house.settled()
    const letters = await house.redis.xrange(house.keys.dead('agent'), '-', '+')
    expect(letters).toHaveLength(1)
    const flat = letters[0]?.[1] ?? []
    const field = (name: string) => flat[flat.indexOf(name) + 1] as string
    expect([field('reason'), field('detail'), field('epoch')]).toEqual(['failed', 'GW_TASK_FAILED: boom 3', '3'])
    expect(JSON.parse(field('data'))).toMatchObject({ action_type: 'ASK_AGENT', header: { message_id: 'm' } })
    expect(JSON.parse(field('history'))).toEqual(
      [1, 2, 3].map((attempt) => ({
        ...{ attempt, code: 'GW_TASK_FAILED', message: `boom ${attempt}`, workerId: 'w' },
        ...{ at: expect.any(Number), entryId: expect.stringMatching(/^\d+-\d+$/) },
      })),
    )
    expect([attempts, await agendaOf(house)]).toEqual([[1, 2, 3], []])
  })

  test('keeps the first and the newest of many failures, of a long message its beginning', async () => {
    const house = new House()
    const { handle } = failing(99, (attempt) => new Error(`${attempt} ${'x'.repeat(2_000)}`))
    await house.work(handle, { retry: { maxAttempts: 22, backoff: { type: 'fixed', delayMs: 1 } } })
    const client = house.client()
    expect(await client.ask({ ...send, timeoutMs: 30_000 })).toMatchObject({ status: 'FAILED', attempts: 22 })
    await house.settled()
    const [letter] = await client.listDeadLetters('agent')
    const newest = Array.from({ length: 19 }, (_, index) => index + 4)
    expect(letter?.history.map(({ attempt }) => attempt)).toEqual([1, ...newest])
    expect(letter?.history.map(({ message }) => message.length)).toEqual(Array.from({ length: 20 }, () => 1_000))
  })

  test('tells when it failed by the clock of Redis, whatever the worker’s says', async () => {
    const house = new House()
    const before = Date.now()
    const clock = vi.spyOn(Date, 'now')
    onTestFinished(() => clock.mockRestore())
    await house.work(() => {
      clock.mockReturnValue(before + 86_400_000)
      throw new Error('boom')
    })
    const client = house.client()
    await client.ask(send)
    await waitFor(async () => (await client.listDeadLetters('agent')).length === 1)
    const [letter] = await client.listDeadLetters('agent')
    const at = letter?.history[0]?.at ?? 0
    expect([at >= before, at < before + 3_600_000]).toEqual([true, true])
  })

  test('waits as RETRYING, with its time, and with nobody’s name on it', async () => {
    const house = new House()
    await house.work(failing(1).handle, { retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 600_000 } } })
    const client = house.client()
    await client.sendMessage(send)
    const task = await waitFor(async () => {
      const found = await client.getTask(send)
      return found?.status === 'RETRYING' ? found : null
    })
    expect(task).toMatchObject({ workerId: '', attempt: 1, epoch: 1, finishedAt: null })
    expect(Number(task.dueAt) - Number(task.startedAt)).toBeGreaterThanOrEqual(600_000)
    await house.settled()
    expect(await agendaOf(house)).toEqual(['ready 1 s m'])
  })

  test('is not tried again when the handler says that it is no use', async () => {
    const house = new House()
    const { handle, attempts } = failing(9, () => new TerminalError('never'))
    await house.work(handle, { retry: { maxAttempts: 5, backoff: QUICK } })
    expect(await house.client().ask(send)).toMatchObject({ status: 'FAILED', error: { message: 'never' }, attempts: 1 })
    expect(attempts).toEqual([1])
  })

  test('is tried again when the handler says', async () => {
    const house = new House()
    const slow = { maxAttempts: 5, backoff: { type: 'fixed' as const, delayMs: 600_000 } }
    const { handle, attempts } = failing(2, () => new RetryableError('soon', { delayMs: 5 }))
    await house.work(handle, { retry: slow })
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED', attempts: 3 })
    expect(attempts).toEqual([1, 2, 3])
  })

  test('a handler that throws what only an abort of ours should say has failed like any other', async () => {
    const house = new House()
    const { GatewayError } = await import('../../src/errors.ts')
    const { handle } = failing(1, () => new GatewayError('GW_LEASE_LOST', { messageId: 'm', holder: 'nobody' }))
    await house.work(handle, { retry: { maxAttempts: 2, backoff: QUICK } })
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED', attempts: 2 })
  })
})

describe('the policy', () => {
  test('of the worker, of the capability, and of the message: the nearest counts, field by field', async () => {
    const house = new House()
    const attempts = new Map<string, number>()
    await house.work(
      (_command, { messageId, attempt }) => {
        attempts.set(messageId, attempt)
        throw new Error('boom')
      },
      {
        capabilities: ['plain', 'tough'],
        retry: { maxAttempts: 2, backoff: QUICK, capabilities: { tough: { maxAttempts: 4 } } },
      },
    )
    const client = house.client()
    const ask = (targetAgentType: string, messageId: string, retry?: { maxAttempts: number }) =>
      client.ask({ targetAgentType, sessionId: 's', messageId, content: 'x', ...(retry && { retry }) })
    const answers = await Promise.all([
      ...[ask('plain', 'plain'), ask('tough', 'tough')],
      ...[ask('plain', 'plain-5', { maxAttempts: 5 }), ask('tough', 'tough-1', { maxAttempts: 1 })],
    ])
    expect(answers.map(({ status }) => status)).toEqual(['FAILED', 'FAILED', 'FAILED', 'FAILED'])
    expect(Object.fromEntries(attempts)).toEqual({ plain: 2, tough: 4, 'plain-5': 5, 'tough-1': 1 })
  })

  test('of a capability that leaves a field undefined has that of the worker', async () => {
    const house = new House()
    const attempt = () => {
      throw new Error('boom')
    }
    const left = { maxAttempts: undefined, backoff: undefined }
    await house.work(attempt, { retry: { maxAttempts: 2, backoff: QUICK, capabilities: { agent: left } } })
    expect(await house.client().ask({ ...send, timeoutMs: 10_000 })).toMatchObject({ status: 'FAILED', attempts: 2 })
  })

  test('may be a function, which is told the attempt and the error', async () => {
    const house = new House()
    const told: unknown[] = []
    const backoff = (attempt: number, error: unknown) => {
      told.push([attempt, (error as Error).message])
      return attempt
    }
    await house.work(failing(2, (attempt) => new Error(`boom ${attempt}`)).handle, {
      retry: { maxAttempts: 3, backoff },
    })
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED', attempts: 3 })
    expect(told).toEqual([
      [1, 'boom 1'],
      [2, 'boom 2'],
    ])
  })

  test('whose function throws is the default one, and it is logged', async () => {
    const house = new House()
    const backoff = () => {
      throw new Error('bad function')
    }
    await house.work(failing(1).handle, { retry: { maxAttempts: 2, backoff } })
    const client = house.client()
    await client.sendMessage(send)
    const task = await waitFor(async () => {
      const found = await client.getTask(send)
      return found?.status === 'RETRYING' ? found : null
    })
    expect(Number(task.dueAt) - Number(task.startedAt)).toBeGreaterThanOrEqual(800)
    expect(house.logger.lines.filter(({ fields }) => fields.reason === 'bad function')).toHaveLength(1)
  })

  test('an attempt that takes too long is a failed one; the message’s time goes before the worker’s', async () => {
    const house = new House()
    const reasons: unknown[] = []
    await house.work(
      (_command, { signal, attempt }) =>
        attempt === 3
          ? 'fine'
          : new Promise(() => signal.addEventListener('abort', () => reasons.push(signal.reason.code))),
      { retry: { maxAttempts: 3, backoff: QUICK }, taskTimeoutMs: 600_000 },
    )
    const client = house.client()
    await client.sendMessage({ ...send, timeoutMs: 30 })
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'COMPLETED', attempts: 3 })
    expect(reasons).toEqual(['GW_TASK_TIMEOUT', 'GW_TASK_TIMEOUT'])
  })

  test('the options of a message are not seen by its handler', async () => {
    const house = new House()
    let metadata: unknown
    await house.work((_command, context) => {
      metadata = context.metadata
    })
    const client = house.client()
    await client.sendMessage({ ...send, metadata: { own: 1 }, timeoutMs: 60_000, retry: { maxAttempts: 2 } })
    await client.result({ sessionId: 's', messageId: 'm' })
    expect(metadata).toEqual({ own: 1 })
  })
})

describe('nothing is lost and nothing runs twice', () => {
  test('when a worker dies between the failed attempt and the agenda', async () => {
    const house = new House()
    const { dead, entryId } = await beginAsDead(house)
    const fence = `R:1:${entryId}:dead`
    const event = JSON.stringify({ event_type: 'chunk', message_id: 'm', data: { content: 'half' } })
    const end = { fence: parkedFence(fence), fields: { due_at: '0', failures: '1', failure_log: '[]' } }
    await dead.writer.commit(() => ({ sessionId: 's', messageId: 'm', fence, first: 1, events: [event], end }))
    const { handle, attempts } = failing(0)
    const workers = await Promise.all(['w-1', 'w-2'].map((workerId) => house.work(handle, { workerId, leaseMs: 200 })))
    expect(workers).toHaveLength(2)
    expect(await house.client().result({ sessionId: 's', messageId: 'm' })).toMatchObject({
      ...{ status: 'COMPLETED', attempts: 2 },
    })
    await house.settled()
    expect([attempts, await agendaOf(house)]).toEqual([[2], []])
    const events = await collect(house.client().subscribe('s', { after: '0', follow: false }))
    expect(events.map(({ type }) => type)).toEqual(['chunk', 'rewind', 'done'])
  })

  test('when a worker dies between the last failed attempt and the dead letters', async () => {
    const house = new House()
    const { dead, entryId } = await beginAsDead(house)
    const log = JSON.stringify([
      { attempt: 1, code: 'GW_TASK_FAILED', message: 'boom', at: 1, workerId: 'dead', entryId },
    ])
    const end = { fence: `F:1:${entryId}:dead`, fields: { failures: '1', failure_log: log } }
    await dead.writer.commit(() => ({
      ...{ sessionId: 's', messageId: 'm', fence: `R:1:${entryId}:dead`, first: 1, events: ['{}'], end },
    }))
    const { handle, attempts } = failing(0)
    await house.work(handle, { leaseMs: 200 })
    await house.settled()
    expect(attempts).toEqual([])
    const [letter] = await house.client().listDeadLetters('agent')
    expect(letter).toMatchObject({ reason: 'failed', detail: 'GW_TASK_FAILED: boom', messageId: 'm' })
  })

  test('when what is due is put on the stream many times over', async () => {
    const house = new House()
    const { handle, attempts } = failing(1)
    await house.work(handle, { retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 600_000 } } })
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'RETRYING')
    const data = envelope('m', 's')
    for (let i = 0; i < 10; i += 1) await house.add({ data, turn: '1' })
    await house.add({ data, turn: '0' })
    await house.add({ data })
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'COMPLETED', attempts: 2 })
    for (let i = 0; i < 5; i += 1) await house.add({ data, turn: '1' })
    await house.settled()
    expect(attempts).toEqual([1, 2])
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('however many fail at once, over two workers', async () => {
    const house = new House()
    const runs = new Map<string, number[]>()
    const handle = (_command: unknown, { messageId, attempt }: AgentContext) => {
      runs.set(messageId, [...(runs.get(messageId) ?? []), attempt])
      if (attempt <= Number(messageId.slice(2)) % 3) throw new Error('boom')
      return attempt
    }
    const retry = { maxAttempts: 3, backoff: { type: 'exponential' as const, delayMs: 5 } }
    await Promise.all(['w-1', 'w-2'].map((workerId) => house.work(handle, { workerId, retry })))
    const client = house.client()
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        client.ask({ targetAgentType: 'agent', sessionId: `s-${i % 20}`, messageId: `m-${i}`, content: 'x' }),
      ),
    )
    expect(answers.map(({ status, data }) => `${status} ${data}`)).toEqual(
      Array.from({ length: 300 }, (_, i) => `COMPLETED ${(i % 3) + 1}`),
    )
    for (const [messageId, attempts] of runs) {
      expect(attempts).toEqual([1, 2, 3].slice(0, (Number(messageId.slice(2)) % 3) + 1))
    }
    await house.settled()
    expect(await agendaOf(house)).toEqual([])
  })
})

/** Sends a task and begins it for a worker that is never heard of again. */
async function beginAsDead(house: House) {
  const { redis } = openStore()
  const dead = {
    records: new TaskRecords(redis, house.keys),
    writer: new DataWriter(redis, house.keys, DEFAULT_RETENTION),
  }
  await house.client().sendMessage(send)
  const key = house.keys.control('agent')
  await house.redis.xgroup('CREATE', key, 'agent_engines', '0', 'MKSTREAM')
  const reply = await house.redis.xreadgroup('GROUP', 'agent_engines', 'dead', 'COUNT', 1, 'STREAMS', key, '>')
  const entryId = reply?.[0]?.[1][0]?.[0] as string
  const [begun] = await dead.records.begin('dead', [{ sessionId: 's', messageId: 'm', entryId, turn: '' }])
  expect(begun?.status).toBe('begun')
  return { dead, entryId }
}
