import { describe, expect, test } from 'vitest'
import { GatewayClient } from '../../src/client/client.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import { House } from '../worker/harness.ts'

/** The methods of a client as JavaScript sees them. */
type Loose = Record<string, (...args: unknown[]) => unknown>

const fault = (said: string) => ({ code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining(said) })

describe('what is no object is refused in words', () => {
  test.each([
    ['sendMessage', 'the request'],
    ['ask', 'the request'],
    ['result', 'the options'],
    ['cancelTask', 'the options'],
    ['reply', 'the options'],
    ['explain', 'the options'],
    ['showDeadLetter', 'the options'],
    ['getTask', 'the task'],
    ['sendCommand', 'the command'],
  ])('by %s', async (method, said) => {
    const client = new House().client() as unknown as Loose
    for (const wrong of [undefined, null, 'redis://127.0.0.1', 7]) {
      await expect(client[method]?.(wrong)).rejects.toMatchObject(fault(said))
    }
  })

  test('by those whose options may be left out', async () => {
    const client = new House().client() as unknown as Loose
    await expect(client.listTasks?.(null)).rejects.toMatchObject(fault('the options'))
    await expect(client.queueStats?.('agent', null)).rejects.toMatchObject(fault('the options'))
    await expect(client.reloadPlugins?.(null)).rejects.toMatchObject(fault('the options'))
    await expect(client.text?.('s', 'm', null)).rejects.toMatchObject(fault('the options'))
    expect(() => client.subscribe?.('s', null)).toThrow(expect.objectContaining(fault('the options')))
  })

  test('by a new client and a new worker, which take no URL as such', async () => {
    const Loose = GatewayClient as unknown as new (options: unknown) => unknown
    for (const wrong of [null, 'redis://127.0.0.1:6379']) {
      expect(() => new Loose(wrong)).toThrow(expect.objectContaining(fault('the options of GatewayClient')))
      await expect(runWorker(wrong as never)).rejects.toMatchObject(fault('the options of runWorker'))
    }
  })
})

test('what is no option is refused by its name and value', async () => {
  const house = new House()
  const client = house.client() as unknown as Loose
  for (const [options, said] of [
    [{ afer: '0' }, 'afer is invalid: there is no such option, only after,'],
    [{ messageID: 'm' }, '(got "m")'],
    [{ follow: 'no' }, 'follow is invalid: must be true or false (got "no")'],
    [{ messageId: 'm', tree: 1 }, 'tree is invalid'],
  ] as const) {
    expect(() => client.subscribe?.('s', options)).toThrow(expect.objectContaining(fault(said)))
  }
  await expect(client.text?.('s', 'm', { timeoutMS: 1 })).rejects.toMatchObject(fault('timeoutMS'))
  await expect(client.listTasks?.({ sessionID: 's' })).rejects.toMatchObject(fault('sessionID'))
  await expect(client.queueStats?.('agent', { group: 'g' })).rejects.toMatchObject(fault('group'))
  await expect(client.reloadPlugins?.({ plugin: 'p' })).rejects.toMatchObject(fault('plugin'))
  expect(await house.redis.pubsub('CHANNELS', `${house.prefix}*`)).toEqual([])
})

test('a bad signal or starting point is refused before anything is begun', async () => {
  const house = new House()
  const client = house.client() as unknown as Loose
  const task = { sessionId: 's', messageId: 'm' }
  for (const signal of [new AbortController(), {}, 'soon']) {
    expect(() => client.subscribe?.('s', { signal })).toThrow(expect.objectContaining(fault('signal')))
    await expect(client.result?.({ ...task, signal, timeoutMs: 60_000 })).rejects.toMatchObject(fault('signal'))
    await expect(client.text?.('s', 'm', { signal })).rejects.toMatchObject(fault('signal'))
    const message = { targetAgentType: 'agent', sessionId: 's', content: 'x', signal }
    await expect(client.ask?.(message)).rejects.toMatchObject(fault('signal'))
  }
  for (const after of [0, 1_700_000_000_000, null, {}]) {
    expect(() => client.subscribe?.('s', { after })).toThrow(expect.objectContaining(fault('after')))
  }
  expect(await house.redis.pubsub('CHANNELS', `${house.prefix}*`)).toEqual([])
  expect(await house.waiting()).toBe(0)
})

test('a logger of another shape is refused by what it lacks', () => {
  const logger = console as never
  expect(() => new GatewayClient({ logger })).toThrow(
    expect.objectContaining(fault('logger is invalid: has no method child')),
  )
})

test('a status that does not exist is no empty list', async () => {
  const client = new House().client()
  await expect(client.listTasks({ status: 'FINISHED' as never })).rejects.toMatchObject(fault('status'))
  expect(await client.listTasks({ sessionId: 's', status: 'WAITING_USER' })).toEqual([])
})

test('nor is a limit that is none', async () => {
  const client = new House().client()
  await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
  for (const limit of [-1, Number.NaN, '10' as never]) {
    await expect(client.listTasks({ sessionId: 's', limit })).rejects.toMatchObject(fault('limit'))
  }
  expect(await client.listTasks({ sessionId: 's', limit: 0 })).toEqual([])
  expect(await client.listTasks({ sessionId: 's', limit: Number.POSITIVE_INFINITY })).toHaveLength(1)
})

test('a signal that is aborted before the call sends nothing', async () => {
  const house = new House()
  const client = house.client()
  const message = { targetAgentType: 'agent', sessionId: 's', content: 'x' }
  const gone = AbortSignal.abort(new Error('gone'))
  for (const asked of [
    { ...message, signal: gone },
    { ...message, messageId: 'm', signal: gone },
  ]) {
    await expect(client.ask(asked)).rejects.toThrow('gone')
  }
  await expect(client.result({ sessionId: 's', messageId: 'm', signal: gone })).rejects.toThrow('gone')
  await client.getTask({ sessionId: 's', messageId: 'm' }) // behind whatever was sent
  expect(await house.waiting()).toBe(0)
})

test('what is no function is refused before anything is sent', async () => {
  const house = new House()
  const client = house.client() as unknown as Loose
  const message = { targetAgentType: 'agent', sessionId: 's', content: 'x' }
  await expect(client.ask?.({ ...message, onEvent: 'log', timeoutMs: 1_000 })).rejects.toMatchObject(fault('onEvent'))
  await expect(client.text?.('s', 'm', { onText: 5, timeoutMs: 1_000 })).rejects.toMatchObject(fault('onText'))
  expect(await house.waiting()).toBe(0)
})

test.each([
  ['a text', '50'],
  ['a symbol', Symbol('t')],
  ['a BigInt', 50n],
])('%s is neither a time nor an id', async (_, wrong) => {
  const client = new House().client() as unknown as Loose
  const task = { sessionId: 's', messageId: 'm' }
  await expect(client.result?.({ ...task, timeoutMs: wrong })).rejects.toMatchObject(fault('timeoutMs'))
  await expect(client.text?.('s', 'm', { timeoutMs: wrong })).rejects.toMatchObject(fault('timeoutMs'))
  expect(() => client.subscribe?.('s', { idleTimeoutMs: wrong })).toThrow(
    expect.objectContaining(fault('idleTimeoutMs')),
  )
  if (typeof wrong === 'string') return
  await expect(client.text?.('s', wrong)).rejects.toMatchObject(fault('messageId'))
})
