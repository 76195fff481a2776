import { setImmediate } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { AgentContext } from '../../src/agent/context.ts'
import { type AgentContract, defineAgent } from '../../src/agent/contract.ts'
import { Toolbox } from '../../src/context/toolbox.ts'
import { GatewayError } from '../../src/errors.ts'
import { Aftercare } from '../../src/execution/aftercare.ts'
import { Conclusion } from '../../src/execution/conclusion.ts'
import { Execution } from '../../src/execution/execution.ts'
import { AskAgentCommand } from '../../src/protocol/command.ts'
import { MessageHeader } from '../../src/protocol/header.ts'
import { Agenda } from '../../src/store/agenda.ts'
import type { BeginAnswer } from '../../src/store/begin-answer.ts'
import type { TakenEntry } from '../../src/store/control-streams.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { DeadLetters } from '../../src/store/dead-letters.ts'
import { InboxWriter } from '../../src/store/inbox.ts'
import { Presence } from '../../src/store/presence.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { deferred } from '../../src/util/deferred.ts'
import { durableResources } from '../context/durable/harness.ts'
import { openStore } from '../redis/harness.ts'
import { heapUsed } from '../support/heap.ts'
import { FunctionWorker, memoryLogger } from '../worker/harness.ts'

let store: ReturnType<typeof openStore>
let records: TaskRecords
beforeEach(() => {
  store = openStore()
  records = new TaskRecords(store.redis, store.keys)
})
const header = new MessageHeader({ messageId: 'm', sessionId: 's', traceId: 't' })
const begin = async (worker = 'w') => {
  const [answer] = await records.begin(worker, [{ sessionId: 's', messageId: 'm', entryId: '1-0', turn: '' }])
  const { epoch, fence, written, attempt } = answer as BeginAnswer & { status: 'begun' }
  return { epoch, fence, written, attempt }
}

function openWriter(until?: Promise<void>): DataWriter {
  const retention = { resultTtlMs: 60_000, streamTtlMs: 60_000, streamMaxLength: 1_000 }
  const writer = new DataWriter(store.redis, store.keys, retention, { group: 'agent_engines' })
  if (until === undefined) return writer
  const put = writer.put.bind(writer)
  return Object.assign(writer, { put: (...commit: Parameters<typeof put>) => void until.then(() => put(...commit)) })
}

async function start(
  handle: (command: AskAgentCommand, context: AgentContext) => unknown,
  options: {
    timeoutMs?: number
    contract?: AgentContract
    content?: string
    command?: GatewayError
    /** Nothing is written before. */
    until?: Promise<void>
  } = {},
) {
  await records.admit([{ ...header, agentType: 'agent' }])
  const command = options.command ?? new AskAgentCommand({ header, content: options.content ?? 'hi' })
  const resources = {
    ...{ workerId: 'w', workspaceDir: '/tmp/byclaw-never-made', presence: new Presence(store.redis, store.keys) },
    ...{ toolbox: new Toolbox({}), logger: memoryLogger(), worker: new FunctionWorker(['agent'], handle) },
    contracts: new Map(options.contract === undefined ? [] : [['agent', options.contract]]),
    writer: openWriter(options.until),
    ...{
      maxPayloadBytes: 10_000,
      taskTimeoutMs: options.timeoutMs,
      cancelGraceMs: 30_000,
      onNonDeterminism: 'fail' as const,
    },
    durable: durableResources(store.redis, store.keys),
  }
  const { redis, keys } = store
  const deadLetters = new DeadLetters(redis, keys)
  const aftercare = new Aftercare({
    ...{ agenda: new Agenda(redis, keys), inboxes: new InboxWriter(redis, keys), deadLetters, workerId: 'w' },
  })
  const conclusion = new Conclusion({
    records,
    aftercare,
    retryOf: () => ({ maxAttempts: 1 }),
    onGivenUp: () => undefined,
    logger: memoryLogger(),
  })
  const entry: TakenEntry = {
    stream: { capability: 'agent', priority: 'normal', key: keys.control('agent') },
    ...{ id: '1-0', raw: ['1-0', []], deliveries: 1, askedAt: 0 },
  }
  const ownership = await begin()
  const known = { entry, header, agentType: 'agent', command, ownership, createdAt: 0 }
  const task = { ...known, cancel: null, isExpired: false, life: 0, replay: null }
  const execution = new Execution({ ...resources, conclusion }, task)
  const handled = execution.run()
  const ended = handled.then(({ how }) => how)
  return { execution, handled, ended, waiting: () => [...resources.durable.desk.tasks].length }
}
const status = async () => (await records.get({ sessionId: 's', messageId: 'm' }))?.status
const events = () => store.bare.xlen(store.keys.data('s'))

describe('an execution', () => {
  test('that has its end says so, and tells when its handler has ended, before the end is recorded', async () => {
    const gate = deferred()
    const { handled, ended } = await start(() => gate.promise)
    const order: string[] = []
    void handled.then(() => order.push('handled'))
    void ended.then(() => order.push('recorded'))
    await store.bare.ping()
    expect(order).toEqual([])
    gate.resolve()
    expect(await ended).toBe('settled')
    expect(order).toEqual(['handled', 'recorded'])
    expect(await status()).toBe('COMPLETED')
  })

  test('holds neither what was asked nor its context while its end is on the way', async () => {
    const gate = deferred()
    const made: WeakRef<object>[] = []
    const handle = (command: AskAgentCommand, context: AgentContext) => {
      made.push(new WeakRef(command), new WeakRef(context))
    }
    const { ended } = await start(handle, { until: gate.promise })
    await setImmediate()
    heapUsed() // collects what nobody holds
    expect(made.map((ref) => ref.deref())).toEqual([undefined, undefined])
    expect(await status()).toBe('RUNNING')
    gate.resolve()
    expect([await ended, await status()]).toEqual(['settled', 'COMPLETED'])
  })

  test('acks its entry with its end; one that has failed not before its dead letter is there', async () => {
    const { ended } = await start(() => 'done')
    expect(await ended).toBe('settled')
    store = openStore()
    records = new TaskRecords(store.redis, store.keys)
    const failing = await start(() => Promise.reject(new Error('no')))
    expect(await failing.ended).toBe('ended')
  })

  test('that has its end takes no further durable call, and nothing of it stays among those that wait', async () => {
    const late = deferred<AgentContext>()
    const { ended, waiting } = await start((_, context) => {
      context.random() // with that there is a durable side
      late.resolve(context)
    })
    expect(await ended).toBe('settled')
    const context = await late.promise
    const call = { targetAgentType: 'child', content: 'x' }
    for (const again of [() => context.askUser('Well?'), () => context.sleep(1), () => context.callAgent(call)]) {
      await expect(again()).rejects.toMatchObject({ code: 'GW_CLOSED' })
      expect(waiting()).toBe(0)
    }
    expect(await store.bare.exists(store.keys.journal('s', 'm'))).toBe(0)
  })

  test('does not wait for a call that was refused', async () => {
    const refused = deferred<unknown>()
    const gate = deferred()
    const { ended, waiting } = await start(async (_, context) => {
      const content = 'x'.repeat(2_000_000)
      await context.callAgent({ targetAgentType: 'child', content }).catch(({ code }) => refused.resolve(code))
      await gate.promise
    })
    expect(await refused.promise).toBe('GW_PAYLOAD_TOO_LARGE')
    expect(waiting()).toBe(0)
    gate.resolve()
    expect(await ended).toBe('settled')
  })

  test('of a command that cannot be understood fails without its handler', async () => {
    let ran = 0
    const { ended } = await start(() => (ran += 1), { command: new GatewayError('GW_POISON', { reason: 'x' }) })
    expect(await ended).toBe('ended')
    expect([ran, await status()]).toEqual([0, 'FAILED'])
    // Whoever met it has put it there.
    expect(await store.bare.exists(store.keys.dead('agent'))).toBe(0)
  })

  test('whose time is up fails, and what its handler does later counts for nothing', async () => {
    const gate = deferred<string>()
    const { ended } = await start(() => gate.promise, { timeoutMs: 30 })
    expect(await ended).toBe('ended')
    gate.resolve('late')
    await setImmediate()
    expect([await status(), await events()]).toEqual(['FAILED', 2]) // `error` and `done`
  })

  test('that is handed over has no end, and no event of one', async () => {
    const { execution, ended } = await start(() => new Promise(() => undefined))
    execution.abort(new GatewayError('GW_SHUTDOWN', { workerId: 'w' }))
    execution.abort(new GatewayError('GW_TASK_TIMEOUT', { timeoutMs: 1 }))
    expect(await ended).toBe('left')
    expect([await status(), await events()]).toEqual(['RUNNING', 0])
  })

  test('that lost its task aborts its handler at its next word, and has no end', async () => {
    const lost = deferred<unknown>()
    const gate = deferred()
    const { ended } = await start(async (_command, context) => {
      context.signal.addEventListener('abort', () => lost.resolve(context.signal.reason))
      await gate.promise
      await context.emitChunk('zombie')
    })
    await begin('w-2')
    gate.resolve()
    expect(await ended).toBe('lost')
    expect(await lost.promise).toMatchObject({ code: 'GW_LEASE_LOST' })
    expect([await status(), await events()]).toEqual(['RUNNING', 0])
    expect(await records.get({ sessionId: 's', messageId: 'm' })).toMatchObject({
      workerId: 'w-2',
      attempt: 1,
      epoch: 2,
    })
  })

  test.each([
    ['by its next owner, leaves the entry to him', 'R:2:1-0:w-2', 'F', 'lost'],
    ['from outside, needs its entry no more', 'R:1:1-0:w', 'X', 'ended'],
  ])('whose task was ended %s', async (_name, fence, letter, how) => {
    const gate = deferred()
    const { ended } = await start(async (_command, context) => {
      await gate.promise
      await context.emitChunk('zombie')
    })
    if (letter === 'F') await begin('w-2')
    const writer = new DataWriter(store.redis, store.keys, DEFAULT_RETENTION)
    const end = { fence: letter + fence.slice(1), fields: {} }
    await writer.commit(() => ({ sessionId: 's', messageId: 'm', fence, first: 0, events: ['{}'], end }))
    gate.resolve()
    expect(await ended).toBe(how)
    expect(await events()).toBe(1)
    if (how === 'ended') expect(await store.bare.pttl(store.keys.task('s', 'm'))).toBeGreaterThan(0)
  })

  test('that lost its task in silence cannot end it either', async () => {
    const gate = deferred()
    const { ended } = await start(() => gate.promise.then(() => 'mine'))
    await begin('w-2')
    gate.resolve()
    expect(await ended).toBe('left')
    expect([await status(), await events()]).toEqual(['RUNNING', 0])
  })

  test('under a contract checks what comes in before the handler, and what goes out after it', async () => {
    const contract = defineAgent('agent', { input: z.enum(['good', 'odd']), output: z.number() })
    let ran = 0
    const handle = (command: AskAgentCommand) => {
      ran += 1
      return command.content === 'good' ? 7 : 'seven'
    }
    const bad = await start(handle, { contract, content: 'bad' })
    expect(await bad.ended).toBe('ended')
    expect([ran, await status()]).toEqual([0, 'FAILED'])
    store = openStore()
    records = new TaskRecords(store.redis, store.keys)
    expect(await (await start(handle, { contract, content: 'odd' })).ended).toBe('ended')
    expect([ran, await status()]).toEqual([1, 'FAILED'])
  })
})
