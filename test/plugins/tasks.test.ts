import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { HookEvents, HookName } from '../../src/agent/hooks.ts'
import { tool } from '../../src/agent/tool.ts'
import { RetryableError } from '../../src/errors.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { unhandledRejections } from '../support/rejections.ts'
import { Gate, House } from '../worker/harness.ts'
import { make } from './support.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }
const NAMES = [
  ...['onTaskStart', 'onTaskComplete', 'onTaskError', 'onTaskCancel', 'onTaskLeave', 'onCallAgentStart'],
  ...['onCallAgentComplete', 'onCallAgentError', 'onToolCall', 'onEvent'],
] as const

/** A plugin that notes what it is told of tasks. */
function spy(pluginId = 'spy', priority = 0) {
  const told: { name: HookName; event: HookEvents[HookName] }[] = []
  const hooks = NAMES.map((name) => [name, (event: never) => void told.push({ name: name as HookName, event })])
  const plugin = make(pluginId, { priority, ...Object.fromEntries(hooks) })
  const names = (agentType = 'agent') =>
    told.flatMap(({ name, event }) => ('task' in event && event.task.agentType === agentType ? [name] : []))
  return { plugin, told, names }
}

const echo = tool({ description: 'echo', input: z.object({ text: z.string() }), execute: ({ text }) => text })

test('what is emitted beside plugins need not be awaited either', async () => {
  const house = new House()
  const rejections = unhandledRejections()
  const gate = new Gate()
  await house.work(
    (_command, context) => {
      void context.emitData(1n)
      void gate.pass().then(() => void context.emitChunk('late'))
    },
    { plugins: [spy().plugin] },
  )
  expect((await house.client().ask(send)).status).toBe('COMPLETED')
  gate.open()
  await pause(50)
  expect(rejections).toEqual([])
})

describe('hooks are told', () => {
  test('of a task that completes, of its tools and events', async () => {
    const house = new House()
    const { plugin, told, names } = spy()
    await house.work(
      async (_command, context) => {
        await context.callTool('echo', { text: 'x' })
        await context.callTool('echo', {}).catch(() => undefined)
        await context.emitChunk('one', { metadata: { m: 1 } })
        await context.emitState('two')
        return 'done'
      },
      { plugins: [plugin], tools: { echo }, workerId: 'w' },
    )
    const { messageId } = await house.client().ask({ ...send, userCode: 'u', metadata: { a: 1 }, traceId: 't' })
    await waitFor(() => told.length === 6)
    expect(names()).toEqual(['onTaskStart', 'onToolCall', 'onToolCall', 'onEvent', 'onEvent', 'onTaskComplete'])
    const task = {
      ...{ sessionId: 's', messageId, traceId: 't', parentMessageId: '', agentType: 'agent', workerId: 'w' },
      ...{ attempt: 1, userCode: 'u', metadata: { a: 1 } },
    }
    const durationMs = expect.any(Number)
    expect(told.map(({ event }) => event)).toEqual([
      { task, content: 'hi', resumed: false },
      { task, tool: 'echo', owner: undefined, args: { text: 'x' }, durationMs, status: 'ok', output: 'x' },
      {
        ...{ task, tool: 'echo', owner: undefined, args: {}, durationMs, status: 'error' },
        error: expect.objectContaining({ code: 'GW_TOOL_INPUT_INVALID' }),
      },
      { task, event: { type: 'chunk', content: 'one', role: undefined }, metadata: { m: 1 }, replayed: false },
      { task, event: { type: 'state', state: 'two', detail: undefined }, metadata: undefined, replayed: false },
      { task, result: 'done', durationMs },
    ])
  })

  test('of a failure that is retried, and of the last one', async () => {
    const house = new House()
    const { plugin, told, names } = spy()
    await house.work(
      () => {
        throw new RetryableError('boom', { delayMs: 1 })
      },
      { plugins: [plugin], retry: { maxAttempts: 2 } },
    )
    await house.client().ask(send)
    await waitFor(() => told.length === 4)
    expect(names()).toEqual(['onTaskStart', 'onTaskError', 'onTaskStart', 'onTaskError'])
    const errors = told.flatMap(({ event }) => ('retrying' in event ? [event] : []))
    expect(errors).toMatchObject([
      { retrying: true, task: { attempt: 1 }, error: { code: 'GW_TASK_FAILED', message: 'boom' } },
      { retrying: false, task: { attempt: 2 }, cause: expect.any(RetryableError) },
    ])
  })

  test('of a cancel, whenever it comes; not of a task that never began', async () => {
    const house = new House()
    const { plugin, told, names } = spy()
    const gate = new Gate()
    const begun = deferred()
    await house.work(
      async () => {
        begun.resolve()
        await gate.pass()
      },
      { plugins: [plugin], maxConcurrency: 1 },
    )
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    const queued = await client.sendMessage(send)
    await begun.promise
    await client.cancelTask({ sessionId: 's', messageId: queued.messageId })
    await client.cancelTask({ sessionId: 's', messageId, reason: 'user left' })
    gate.open()
    await client.result({ sessionId: 's', messageId })
    await client.result({ sessionId: 's', messageId: queued.messageId })
    await house.settled()
    await waitFor(() => told.length === 2)
    expect(names()).toEqual(['onTaskStart', 'onTaskCancel'])
    expect(told[1]?.event).toMatchObject({ reason: 'user left', task: { messageId } })
  })

  test('of calls of agents, one by one and in groups, and of what becomes of them', async () => {
    const house = new House()
    const { plugin, told, names } = spy()
    await house.work(
      async (_command, context) => {
        await context.callAgent({ targetAgentType: 'child', content: 'good' })
        await context.callAgent({ targetAgentType: 'child', content: 'bad' }).catch(() => undefined)
        await context.dispatchGroup([{ targetAgentType: 'child', content: 'good' }], { waitForReply: false })
      },
      { plugins: [plugin] },
    )
    await house.work(
      ({ content }) => {
        if (content === 'bad') throw new Error('bad')
        return `very ${content}`
      },
      { capabilities: ['child'] },
    )
    await house.client().ask(send)
    await waitFor(() => told.length === 8)
    expect(names()).toEqual([
      ...['onTaskStart', 'onCallAgentStart', 'onCallAgentComplete', 'onCallAgentStart', 'onCallAgentError'],
      ...['onCallAgentStart', 'onCallAgentComplete', 'onTaskComplete'],
    ])
    expect(told.map(({ event }) => event)).toMatchObject([
      {},
      { targetAgentType: 'child', content: 'good', waitForReply: true, replayed: false },
      { reply: { status: 'COMPLETED', data: 'very good' }, durationMs: expect.any(Number) },
      { content: 'bad' },
      { error: expect.objectContaining({ code: 'GW_AGENT_CALL_FAILED' }), calledMessageId: expect.any(String) },
      { waitForReply: false },
      { reply: undefined },
      {},
    ])
  })

  test('of a suspension, and again when the handler runs again', async () => {
    const house = new House()
    const { plugin, told, names } = spy()
    const gate = new Gate()
    await house.work(
      async (_command, context) => (await context.callAgent({ targetAgentType: 'child', content: 'x' })).content,
      { plugins: [plugin], suspendAfterMs: 0 },
    )
    await house.work(
      async () => {
        await gate.pass()
        return 'answer'
      },
      { capabilities: ['child'] },
    )
    const asked = house.client().ask(send)
    await waitFor(() => names().includes('onTaskLeave'))
    gate.open()
    expect((await asked).data).toBe('answer')
    await waitFor(() => names().includes('onTaskComplete'))
    expect(names()).toEqual([
      ...['onTaskStart', 'onCallAgentStart', 'onTaskLeave'],
      ...['onTaskStart', 'onCallAgentStart', 'onCallAgentComplete', 'onTaskComplete'],
    ])
    expect(told.map(({ event }) => event)).toMatchObject([
      ...[{ resumed: false }, { replayed: false }, { reason: 'suspended' }],
      ...[{ resumed: true }, { replayed: true }, {}, {}],
    ])
  })

  test('in the order of their priority, and a bad one harms nobody', async () => {
    const house = new House()
    const heard: string[] = []
    const hearing = (pluginId: string, priority: number) =>
      make(pluginId, {
        priority,
        onTaskStart: () => void heard.push(pluginId),
        onEvent: () => void heard.push(pluginId),
      })
    const throwing = make('throwing', {
      ...{ priority: 5, hookTimeoutMs: 20 },
      onTaskStart: () => {
        throw new Error('boom')
      },
      onEvent: () => new Promise(() => undefined),
      onTaskComplete: () => Promise.reject(new Error('boom')),
    })
    const worker = await house.work(async (_command, context) => context.emitChunk('x'), {
      plugins: [hearing('low', 1), hearing('high', 9), throwing],
    })
    const { status, messageId } = await house.client().ask(send)
    expect(status).toBe('COMPLETED')
    const stats = () => worker.plugins.stats().find(({ pluginId }) => pluginId === 'throwing')?.hooks
    await waitFor(() => stats()?.onTaskComplete?.failures === 1)
    expect(heard).toEqual(['high', 'low', 'high', 'low'])
    expect(stats()).toMatchObject({
      ...{ onTaskStart: { calls: 1, failures: 1 }, onEvent: { calls: 1, failures: 0, timeouts: 1 } },
    })
    const lines = house.logger.lines.filter(({ level }) => level === 'error')
    expect(lines.map(({ fields }) => fields)).toMatchObject([
      { pluginId: 'throwing', hook: 'onTaskStart', sessionId: 's', messageId },
      { pluginId: 'throwing', hook: 'onEvent', timeoutMs: 20, messageId },
      { pluginId: 'throwing', hook: 'onTaskComplete', messageId },
    ])
  })

  test('without a plugin that hangs being waited for', async () => {
    const house = new House()
    const gate = deferred()
    const hanging = make('hanging', { onTaskStart: () => gate.promise, hookTimeoutMs: 60_000 })
    const worker = await house.work(() => 'done', { plugins: [hanging] })
    expect((await house.client().ask(send)).data).toBe('done')
    expect(worker.plugins.stats()).toMatchObject([{ hooks: { onTaskStart: { calls: 1, timeouts: 0 } } }])
    gate.resolve()
  })
})

describe('a worker with plugins', () => {
  test('has their tools and prompts beside its own', async () => {
    const house = new House()
    const forecast = tool({ description: 'forecast', input: z.object({}), execute: () => 'sunny' })
    const weather = make('weather', {
      version: '1.2.3',
      registerAgentConfigs: () => [
        {
          ...{ agentId: 'agent', tools: { forecast, echo: forecast }, onConflict: 'skip' },
          ...{ prompts: { system: 'Weather for {{city}}.' }, extra: { unit: '°C' }, subAgents: ['maps'] },
        },
      ],
    })
    await house.work(
      async (_command, context) => ({
        tools: context.describeTools().map(({ name }) => name),
        said: [await context.callTool('forecast', {}), await context.callTool('echo', { text: 'own' })],
        prompt: context.prompt('system', { vars: { city: 'Oslo' } }),
        config: context.agentConfig(),
        versions: [context.pluginVersion('weather'), context.pluginVersion('none')],
        changes: context.pluginChanges,
      }),
      { plugins: [weather], tools: { echo } },
    )
    expect((await house.client().ask(send)).data).toEqual({
      ...{ tools: ['echo', 'forecast'], said: ['sunny', 'own'], prompt: 'Weather for Oslo.' },
      config: {
        ...{ agentId: 'agent', tools: ['forecast', 'echo'], prompts: { system: 'Weather for {{city}}.' } },
        ...{ subAgents: ['maps'], knowledge: [], extra: { unit: '°C' } },
      },
      ...{ versions: ['1.2.3', null], changes: [] },
    })
  })

  test('and one without: no prompts, no versions, no words about it', async () => {
    const house = new House()
    const worker = await house.work((_command, context) => {
      const { pluginChanges } = context
      return [pluginChanges, context.agentConfig() ?? null, context.pluginVersion('x') ?? null, context.prompt('p')]
    })
    expect(worker.plugins.list()).toEqual([])
    expect((await house.client().ask(send)).error).toEqual({
      ...{ code: 'GW_PROMPT_NOT_FOUND', message: "there is no prompt 'p' (known: none)" },
    })
  })

  test('takes them from its configurator, which need not wait', async () => {
    const house = new House()
    const worker = await house.work(() => 'done', {
      plugins: [make('a')],
      pluginConfigurator: (plugins) => {
        void plugins.add(make('b', { priority: 1 }))
        void plugins.replace('a', make('a', { version: '2.0.0' }))
      },
    })
    expect(worker.plugins.list()).toMatchObject([{ pluginId: 'b' }, { pluginId: 'a', version: '2.0.0' }])
  })

  test('does not start with one that is refused, and frees the others', async () => {
    const house = new House()
    const reasons: string[] = []
    const good = make('good', { onUnload: ({ reason }) => void reasons.push(reason) })
    const bad = make('bad', { onWorkerStartup: () => Promise.reject(new Error('no disk')) })
    const refused = {
      code: 'GW_PLUGIN_REFUSED',
      message: "plugin 'bad' was refused: onWorkerStartup() failed: no disk",
    }
    await expect(house.work(() => 1, { plugins: [good, bad] })).rejects.toMatchObject(refused)
    await expect(
      house.work(() => 1, { plugins: [good], pluginConfigurator: (plugins) => void plugins.add(bad) }),
    ).rejects.toMatchObject(refused)
    expect(reasons).toEqual(['worker-stopped', 'worker-stopped'])
    await expect(house.work(() => 1, { pluginConfigurator: 7 as never })).rejects.toMatchObject({
      ...{ code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining('pluginConfigurator') },
    })
  })

  test('starts them before its first task, stops them after its last, the other way round', async () => {
    const house = new House()
    const seen: string[] = []
    const noting = (pluginId: string, priority: number) =>
      make(pluginId, {
        priority,
        onWorkerStartup: () => void seen.push(`${pluginId} up`),
        onTaskComplete: () => void seen.push(`${pluginId} task`),
        onWorkerShutdown: () => void seen.push(`${pluginId} down`),
        onUnload: ({ reason }) => void seen.push(`${pluginId} ${reason}`),
      })
    const worker = await house.work(() => 'done', {
      plugins: [noting('a', 2), noting('b', 1)],
      shutdownTimeoutMs: 5_000,
    })
    await house.client().ask(send)
    await worker.stop()
    expect(seen).toEqual([
      ...['a up', 'b up', 'a task', 'b task', 'b down', 'a down', 'a worker-stopped', 'b worker-stopped'],
    ])
  })
})

describe('while plugins change', () => {
  test('a running task keeps those of its start, a new one has the new ones, and the old are unloaded last', async () => {
    const house = new House()
    const gate = new Gate()
    const seen: string[] = []
    const version = (text: string) =>
      make('p', {
        version: text,
        registerAgentConfigs: () => [
          { agentId: 'agent', tools: { say: tool({ description: '', input: z.object({}), execute: () => text }) } },
        ],
        onTaskComplete: ({ task }) => void seen.push(`${text} completes ${task.messageId}`),
        onUnload: () => void seen.push(`${text} unloaded`),
      })
    const worker = await house.work(
      async ({ content }, context) => {
        if (content === 'wait') await gate.pass()
        return [context.pluginVersion('p'), await context.callTool('say', {})]
      },
      { plugins: [version('1.0.0')] },
    )
    const client = house.client()
    const old = client.ask({ ...send, content: 'wait', messageId: 'old' })
    await gate.reached(1)
    await worker.plugins.replace('p', version('2.0.0'))
    expect((await client.ask({ ...send, messageId: 'new' })).data).toEqual(['2.0.0', '2.0.0'])
    await worker.plugins.remove('p')
    expect(seen).not.toContain('1.0.0 unloaded')
    gate.open()
    expect((await old).data).toEqual(['1.0.0', '1.0.0'])
    await waitFor(() => seen.length === 4)
    expect(seen).toEqual(['2.0.0 completes new', '2.0.0 unloaded', '1.0.0 completes old', '1.0.0 unloaded'])
    expect((await client.ask(send)).error?.code).toBe('GW_TOOL_NOT_FOUND')
  })

  test('a suspended task goes on with the new ones, also elsewhere, and is told so', async () => {
    const house = new House()
    const gate = new Gate()
    const handle = async (_command: unknown, context: Parameters<Parameters<House['work']>[0]>[1]) => {
      const { content } = await context.callAgent({ targetAgentType: 'child', content: 'x' })
      return { content, version: context.pluginVersion('p'), changes: context.pluginChanges }
    }
    const { plugin, names } = spy('other')
    const first = await house.work(handle, { plugins: [make('p'), plugin], suspendAfterMs: 0 })
    await house.work(
      async () => {
        await gate.pass()
        return 'answer'
      },
      { capabilities: ['child'] },
    )
    const asked = house.client().ask(send)
    await waitFor(() => names().includes('onTaskLeave'))
    await first.stop()
    await house.work(handle, { plugins: [make('p', { version: '2.0.0' }), make('q')], suspendAfterMs: 0 })
    gate.open()
    const changes = [
      { pluginId: 'p', from: '1.0.0', to: '2.0.0' },
      { pluginId: 'other', from: '1.0.0', to: null },
      { pluginId: 'q', from: null, to: '1.0.0' },
    ]
    expect((await asked).data).toEqual({ content: 'answer', version: '2.0.0', changes })
    const lines = house.logger.lines.filter(
      ({ message }) => message === 'the task goes on with other plugins than before',
    )
    expect(lines.map(({ fields }) => fields)).toMatchObject([{ changes, sessionId: 's' }])
  })

  test('and is told nothing when they are the same, and the newest change when it is suspended twice', async () => {
    const house = new House()
    const told: unknown[] = []
    const { plugin, names } = spy('spy')
    const leaves = () => names().filter((name) => name === 'onTaskLeave').length
    const worker = await house.work(
      async (_command, context) => {
        told.push(context.pluginChanges)
        await context.askUser('one?')
        await context.askUser('two?')
        await context.askUser('three?')
        return 'done'
      },
      { plugins: [make('p'), plugin], suspendAfterMs: 0 },
    )
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    const answer = async (round: number) => {
      await waitFor(() => leaves() === round)
      const [ask] = await client.pendingAsks('s')
      return () => client.reply({ sessionId: 's', messageId, askId: ask?.askId ?? '', content: 'x' })
    }
    await (await answer(1))()
    const second = await answer(2)
    await worker.plugins.replace('p', make('p', { version: '2.0.0' }))
    await second()
    const third = await answer(3)
    await worker.plugins.replace('p', make('p', { version: '3.0.0' }))
    await third()
    expect((await client.result({ sessionId: 's', messageId })).data).toBe('done')
    expect(told).toEqual([
      ...[[], [], [{ pluginId: 'p', from: '1.0.0', to: '2.0.0' }], [{ pluginId: 'p', from: '2.0.0', to: '3.0.0' }]],
    ])
  })
})
