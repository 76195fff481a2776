import { randomUUID } from 'node:crypto'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'
import { type UsageOptions, usagePlugin } from '../../plugins/usage/index.ts'
import { reportedIn } from '../../plugins/usage/report.ts'
import { MemoryUsage, RedisUsage } from '../../plugins/usage/store.ts'
import { tool } from '../../src/agent/tool.ts'
import { Toolbox } from '../../src/context/toolbox.ts'
import { PluginRegistry } from '../../src/plugins/registry.ts'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { sleep } from '../../src/util/sleep.ts'
import { House, memoryLogger } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi', userCode: 'ann' }
const prices = { small: { input: 1, output: 10 }, 'small-fast': { input: 2, output: 20 } }

describe('a report', () => {
  test.each([
    [{ usage: { model: 'small', inputTokens: 100, outputTokens: 10 } }, ['small', 100, 10, 0.0002]],
    [
      { model: 'small-2026-01-01', usage: { prompt_tokens: 100, completion_tokens: 10 } },
      ['small-2026-01-01', 100, 10, 0.0002],
    ],
    [{ model: 'small-fast-x', usage: { input_tokens: 100, output_tokens: 10 } }, ['small-fast-x', 100, 10, 0.0004]],
    [{ usage: { promptTokens: 5, completionTokens: 1 } }, ['', 5, 1, 0]],
    [{ model: 'smaller', usage: { inputTokens: 5 } }, ['smaller', 5, 0, 0]],
    [{ model: 'small', usage: { inputTokens: 5, cost: 0.5 } }, ['small', 5, 0, 0.5]],
  ])('%j is read', (value, expected) => {
    const [usage] = reportedIn(value, prices)
    expect([usage?.model, usage?.inputTokens, usage?.outputTokens, usage?.cost]).toEqual(expected)
  })

  test('may be a list', () => {
    expect(reportedIn({ usage: [{ inputTokens: 1 }, { outputTokens: 2 }, null] }, {})).toHaveLength(2)
  })

  test.each([
    [null],
    ['usage'],
    [[{ usage: { inputTokens: 1 } }]],
    [{ usage: 'much' }],
    [{ usage: {} }],
    [{ usage: { inputTokens: -1 } }],
    [{ usage: { inputTokens: Number.NaN } }],
  ])('%j is none', (value) => {
    expect(reportedIn(value, prices)).toEqual([])
  })
})

describe('in a worker', () => {
  const model = tool({
    ...{ description: 'asks a model', input: z.object({ text: z.string() }) },
    execute: ({ text }) => ({ text, model: 'small', usage: { inputTokens: text.length, outputTokens: 2 } }),
  })

  test('reports of tools, events and results are added up, by all scopes', async () => {
    const house = new House()
    const seen: unknown[] = []
    const usage = usagePlugin({
      prices,
      onUsage: ({ inputTokens }, { messageId }) => seen.push([messageId, inputTokens]),
    })
    await house.work(
      async (_command, context) => {
        await context.callTool('model', { text: '12345' })
        await context.callTool('model', {}).catch(() => undefined)
        await context.emitData({ usage: { model: 'small', inputTokens: 7, outputTokens: 0 } })
        await context.emitData({ other: 1 })
        return { usage: [{ model: 'big', inputTokens: 100, outputTokens: 1, cost: 3 }] }
      },
      { plugins: [usage], tools: { model } },
    )
    const { messageId } = await house.client().ask(send)
    await waitFor(() => seen.length === 3)
    expect(seen).toEqual([
      [messageId, 5],
      [messageId, 7],
      [messageId, 100],
    ])
    const all = { reports: 3, inputTokens: 112, outputTokens: 3, cost: expect.closeTo(3 + (5 + 20 + 7) / 1_000_000, 9) }
    expect(await usage.total('session', 's')).toEqual(all)
    expect(await usage.total('user', 'ann')).toEqual(all)
    expect(await usage.total('agent', 'agent')).toEqual(all)
    expect(await usage.total('model', 'small')).toMatchObject({ reports: 2, inputTokens: 12 })
    expect(await usage.total('session', 'other')).toEqual({ reports: 0, inputTokens: 0, outputTokens: 0, cost: 0 })
  })

  test('what a replay repeats is counted once', async () => {
    const house = new House()
    const usage = usagePlugin()
    await house.work(
      async (_command, context) => {
        await context.emitData({ usage: { inputTokens: 7 } })
        await context.step('ask', () => context.callTool('model', { text: '12345' }))
        return context.askUser('go on?')
      },
      { plugins: [usage], tools: { model }, suspendAfterMs: 0 },
    )
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    await waitFor(async () => (await client.getTask({ sessionId: 's', messageId }))?.status === 'WAITING_USER')
    const [question] = await client.pendingAsks('s')
    await client.reply({ sessionId: 's', messageId, askId: question?.askId ?? '', content: 'yes' })
    expect((await client.result({ sessionId: 's', messageId })).data).toBe('yes')
    expect(await usage.total('session', 's')).toMatchObject({ reports: 2, inputTokens: 12 })
  })

  test('workers add up together in Redis', async () => {
    const house = new House()
    const keyPrefix = `${house.prefix}:usage-${randomUUID()}`
    const options: UsageOptions = { prices, redis: house.url, keyPrefix, ttlMs: 60_000 }
    const plugins = [usagePlugin(options), usagePlugin(options)]
    for (const plugin of plugins) {
      await house.work((_command, context) => context.callTool('model', { text: '12345' }), {
        ...{ plugins: [plugin], tools: { model }, maxConcurrency: 1 },
      })
    }
    const client = house.client()
    await Promise.all(Array.from({ length: 10 }, () => client.ask(send)))
    await waitFor(async () => (await plugins[0]?.total('user', 'ann'))?.reports === 20)
    // Each as a tool's output and as a result.
    expect(await plugins[1]?.total('user', 'ann')).toEqual({
      ...{ reports: 20, inputTokens: 100, outputTokens: 40, cost: 0.0005 },
    })
    expect(await house.redis.pttl(`${keyPrefix}:user:ann`)).toBeGreaterThan(0)
  })

  test('a store that fails harms no task, and is logged', async () => {
    const house = new House()
    const store = Object.assign(new MemoryUsage(), { add: () => Promise.reject(new Error('disk full')) })
    const worker = await house.work(() => ({ usage: { inputTokens: 1 } }), { plugins: [usagePlugin({ store })] })
    const { status, messageId } = await house.client().ask(send)
    expect(status).toBe('COMPLETED')
    await waitFor(() => worker.plugins.stats()[0]?.hooks.onTaskComplete?.failures === 1)
    const [line] = house.logger.lines.filter(({ level }) => level === 'error')
    expect(line?.fields).toMatchObject({ pluginId: 'usage', messageId, err: { message: 'disk full' } })
  })

  test('an onUsage that fails ends no process and costs no other report', async () => {
    const house = new House()
    const usage = usagePlugin({
      onUsage: async ({ inputTokens }) => {
        throw new Error(inputTokens === 1 ? 'no such customer' : 'bank is closed')
      },
    })
    const result = { usage: [{ inputTokens: 1 }, { inputTokens: 2 }] }
    const worker = await house.work(() => result, { plugins: [usage] })
    const unhandled: unknown[] = []
    const note = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.off('unhandledRejection', note))
    expect((await house.client().ask(send)).status).toBe('COMPLETED')
    const failures = () => worker.plugins.stats()[0]?.hooks.onTaskComplete?.failures ?? 0
    await waitFor(() => failures() + unhandled.length > 0)
    expect(unhandled).toEqual([])
    expect(await usage.total('session', 's')).toMatchObject({ reports: 2, inputTokens: 3 })
    const [line] = house.logger.lines.filter(({ level }) => level === 'error')
    expect(line?.fields['err']).toMatchObject({ message: 'no such customer; bank is closed' })
  })

  test('a worker that is told to stop in its start takes the store from no other one', async () => {
    const close = vi.fn(async () => undefined)
    const usage = usagePlugin({ store: Object.assign(new MemoryUsage(), { close }) })
    const registryOf = (workerId: string) =>
      new PluginRegistry({
        ...{ worker: { workerId, capabilities: ['agent'] }, workerTools: {}, logger: memoryLogger() },
        openTools: (tools) => new Toolbox(tools),
      })
    const [first, second] = [registryOf('first'), registryOf('second')]
    const register = usage.registerAgentConfigs.bind(usage)
    usage.registerAgentConfigs = (context) => {
      if (context.workerId === 'second') second.shut()
      return register(context)
    }
    expect((await first.add(usage)).status).toBe('added')
    expect((await second.add(usage)).status).toBe('refused')
    expect(close).not.toHaveBeenCalled()
    await first.close()
    expect(close).toHaveBeenCalledTimes(1)
  })

  test('bad options are refused by name', () => {
    expect(() => usagePlugin({ prices: { x: { input: -1, output: 0 } } })).toThrow(/prices/)
    expect(() => usagePlugin({ redis: 'redis://x', store: new MemoryUsage() })).toThrow('only one of store and redis')
  })
})

test('a Redis that is away keeps no connection trying for ever', async () => {
  const onError = vi.fn()
  const store = new RedisUsage({
    ...{ url: `redis://127.0.0.1:${await findFreePort()}`, keyPrefix: 'usage', ttlMs: 60_000, onError },
  })
  const added = store.add({ model: '', inputTokens: 1, outputTokens: 0, cost: 0, scopes: [['session', 's']] })
  await waitFor(() => onError.mock.calls.length > 0)
  await Promise.allSettled([added, store.close()])
  onError.mockClear()
  await sleep(1_000) // the next try would come within 250 ms
  expect(onError).not.toHaveBeenCalled()
})

test('memory keeps the newest totals only', async () => {
  const store = new MemoryUsage(2)
  const use = (id: string) =>
    store.add({ model: '', inputTokens: 1, outputTokens: 0, cost: 0, scopes: [['session', id]] })
  for (const id of ['a', 'b', 'a', 'c']) await use(id)
  const reports = await Promise.all(['a', 'b', 'c'].map(async (id) => (await store.read('session', id)).reports))
  expect(reports).toEqual([2, 0, 1])
})
