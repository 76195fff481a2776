import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AgentContext,
  AskAgentCommand,
  contentOf,
  defineAgent,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  TerminalError,
} from 'byclaw-gateway-sdk'
import { createTestHarness, startLocalRedis, type TestHarnessOptions } from 'byclaw-gateway-sdk/testing'
import { describe, expect, expectTypeOf, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { canConnect } from '../../src/testing/servers/tcp.ts'
import { bareRedis } from '../redis/harness.ts'
import { OpenResources } from '../support/open-resources.ts'
import { testRedisUrl } from '../support/redis.ts'
import { unhandledRejections } from '../support/rejections.ts'
import { memoryLogger } from '../worker/harness.ts'

class Writer extends GatewayWorker {
  getCapabilities() {
    return ['writer']
  }

  async processCommand(command: GatewayCommand, context: AgentContext) {
    const content = command instanceof AskAgentCommand ? command.content : ''
    if (content === 'hang') await new Promise(() => undefined)
    if (content === 'fail') throw new TerminalError('no')
    await context.emitChunk(`attempt ${context.attempt}`)
    if (content === 'third time' && context.attempt < 3) throw new Error('not yet')
    return { content, workerId: context.workerId }
  }
}

class Slow extends Writer {
  override async onStartup() {
    await sleep(300)
  }
}

const doubler = defineAgent('doubler', { input: z.object({ n: z.number() }), output: z.object({ twice: z.number() }) })

class Doubler extends GatewayWorker {
  getCapabilities() {
    return [doubler]
  }

  async processCommand(command: GatewayCommand) {
    return { twice: contentOf(doubler, command).n * 2 }
  }
}

/** On the Redis of this run, which is quicker than one of its own. */
async function harnessOf(options: TestHarnessOptions) {
  const harness = await createTestHarness({ redis: testRedisUrl(), askTimeoutMs: 15_000, ...options })
  onTestFinished(() => harness.close())
  return harness
}

test('a private Redis, a worker and a client; nothing of it is left', { timeout: 60_000 }, async () => {
  let url = ''
  const isThere = () => canConnect('127.0.0.1', Number(new URL(url).port), 5_000)
  {
    await using harness = await createTestHarness({ workers: [Writer], askTimeoutMs: 15_000 })
    url = harness.redisUrl
    expect(url).not.toBe(testRedisUrl())
    const answer = await harness.ask('hello')
    expect(answer).toMatchObject({ status: 'COMPLETED', data: { content: 'hello' }, text: 'attempt 1', attempts: 1 })
    expect(answer.events.map(({ type }) => type)).toEqual(['chunk', 'done'])
    expect(await isThere()).toBe(true)
  }
  expect(await isThere()).toBe(false)
})

test('its methods can be taken out of it, and those of its workers and of a Redis', async () => {
  await using redis = await startLocalRedis({ url: testRedisUrl() })
  const { ask, close, client, settled, startWorker, worker, workers } = await createTestHarness({
    ...{ workers: [Writer, Doubler], redis: redis.url, askTimeoutMs: 15_000 },
  })
  onTestFinished(close)
  expect(worker).toBe(workers[0])
  await startWorker(Doubler, { workerId: 'third' })
  expect(await ask({ content: 'hello', targetAgentType: 'writer' })).toMatchObject({ status: 'COMPLETED' })
  await settled()
  const { stop } = worker
  await stop()
  expect((await client.listWorkers()).map(({ capabilities }) => capabilities)).toEqual([['doubler'], ['doubler']])
})

test('without workers it has no first one, and says so', async () => {
  const harness = await harnessOf({ workers: [] })
  expect(() => harness.worker).toThrow('workers is invalid: there is no worker')
})

test('an agent without its list is refused before a Redis is started', async () => {
  for (const wrong of [{}, { workers: Writer }]) {
    await expect(createTestHarness(wrong as never)).rejects.toThrow('workers is invalid: must be an array of agents')
  }
  await expect(createTestHarness(undefined as never)).rejects.toThrow('the options of createTestHarness is invalid')
})

test('a logger that is none is refused, and the private Redis does not stay', { timeout: 60_000 }, async () => {
  const resources = new OpenResources()
  onTestFinished(() => resources.close())
  await expect(createTestHarness({ workers: [Writer], logger: {} as never })).rejects.toThrow('logger is invalid')
  expect(resources.list().filter((resource) => resource.startsWith('child process'))).toEqual([])
})

describe('ask', () => {
  test('without more than a text has a session of its own; with more, what it says', async () => {
    const harness = await harnessOf({ workers: [Writer] })
    const [one, two] = await Promise.all([harness.ask('a'), harness.ask({ content: 'b' })])
    expect(one.sessionId).not.toBe(two.sessionId)
    const seen: string[] = []
    const third = await harness.ask<{ content: string }>({
      ...{ content: 'c', sessionId: 's', messageId: 'm', targetAgentType: 'writer' },
      onEvent: ({ type }) => seen.push(type),
    })
    expect(third).toMatchObject({ sessionId: 's', messageId: 'm' })
    expect(third.data.content).toBe('c')
    expect(seen).toEqual(['chunk', 'done'])
    expect(await harness.client.text('s', 'm')).toBe(third.text)
  })

  test('waits for what a callback has begun, and is rejected with it', async () => {
    const harness = await harnessOf({ workers: [Writer] })
    const seen: string[] = []
    await harness.ask({
      content: 'a',
      onEvent: async ({ type }) => {
        seen.push(`${type} begins`)
        await sleep(20)
        seen.push(`${type} ends`)
      },
    })
    expect(seen).toEqual(['chunk begins', 'chunk ends', 'done begins', 'done ends'])
    const rejections = unhandledRejections()
    const broken = harness.ask({ content: 'a', onEvent: () => Promise.reject(new Error('expected a table')) })
    await expect(broken).rejects.toThrow('expected a table')
    expect(rejections).toEqual([])
  })

  test('refuses what is no request, and no callback, by its name', async () => {
    const harness = await harnessOf({ workers: [Writer] })
    for (const wrong of [undefined, null, 5, []]) {
      await expect(harness.ask(wrong as never)).rejects.toThrow('the request is invalid: must be an object')
    }
    await expect(harness.ask({ content: 'a', onEvent: 'x' as never })).rejects.toThrow('onEvent is invalid')
  })

  test('retries happen, soon, and are rewound', async () => {
    const harness = await harnessOf({ workers: [Writer] })
    const answer = await harness.ask('third time')
    expect(answer).toMatchObject({ status: 'COMPLETED', attempts: 3, text: 'attempt 3' })
    expect(answer.events.filter(({ type }) => type === 'rewind')).toHaveLength(2)
  })

  test('a failure is an answer', async () => {
    const harness = await harnessOf({ workers: [Writer] })
    expect(await harness.ask('fail')).toMatchObject({ status: 'FAILED', error: { message: 'no' }, text: '' })
  })

  test('by contract, with its types', async () => {
    const harness = await harnessOf({ workers: [new Doubler(), Writer] })
    const { data } = await harness.ask({ target: doubler, content: { n: 21 } })
    expectTypeOf(data).toEqualTypeOf<{ twice: number }>()
    expect(data.twice).toBe(42)
  })

  test('says when it is not clear who is meant, who is refused, and what took too long', async () => {
    const harness = await harnessOf({ workers: [Doubler, Writer] })
    await expect(harness.ask('who?')).rejects.toThrow('there are several capabilities: doubler, writer')
    await expect(harness.ask({ target: doubler, content: { n: 'x' as never } })).rejects.toMatchObject({
      code: 'GW_SEND_REFUSED',
    })
    const late = harness.ask({ targetAgentType: 'writer', content: 'hang', timeoutMs: 50 })
    await expect(late).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
    const brief = await harnessOf({ workers: [Writer], askTimeoutMs: 60 })
    await expect(brief.ask('hang')).rejects.toThrow('within 60 ms')
    const unsaid = brief.ask({ content: 'hang', timeoutMs: undefined }).catch((error) => error.message)
    expect(await Promise.race([unsaid, sleep(3_000, 'still waits', { ref: false })])).toContain('within 60 ms')
    const empty = await harnessOf({ workers: [] })
    await expect(empty.ask('x')).rejects.toThrow('there is no worker')
  })
})

test('settled waits for what was sent, and names what does not end', async () => {
  const harness = await harnessOf({ workers: [Writer] })
  await harness.settled()
  const send = { targetAgentType: 'writer', sessionId: 's' }
  for (const content of ['a', 'third time', 'fail']) await harness.client.sendMessage({ ...send, content })
  await harness.client.sendMessage({ ...send, content: 'later', delayMs: 60 })
  await harness.settled({ timeoutMs: 15_000 })
  const tasks = await harness.client.listTasks({ sessionId: 's' })
  expect(tasks.map(({ status }) => status)).toEqual(['COMPLETED', 'COMPLETED', 'FAILED', 'COMPLETED'])
  await harness.client.sendMessage({ ...send, content: 'hang', messageId: 'm-hangs' })
  await expect(harness.settled({ timeoutMs: 1_000 })).rejects.toThrow(
    /in vain for: the end of m-hangs \(writer, [A-Z]+\)$/,
  )
})

describe('workers', () => {
  test('take the options of the harness, and their own', async () => {
    const logger = memoryLogger()
    const harness = await harnessOf({ workers: [Writer], logger, retry: { maxAttempts: 1 } })
    expect((await harness.ask('third time')).attempts).toBe(1)
    const more = await harness.startWorker(Doubler, { workerId: 'more', maxConcurrency: 3 })
    expect(more).toMatchObject({ workerId: 'more', capabilities: ['doubler'] })
    expect(harness.workers).toHaveLength(2)
    expect(await harness.client.listWorkers()).toContainEqual(
      expect.objectContaining({ workerId: 'more', maxConcurrency: 3 }),
    )
    expect(logger.lines.map(({ message }) => message)).toContain('worker is consuming')
  })

  test('have the options of the harness, and those its defaults, where others are left undefined', async () => {
    const logger = memoryLogger()
    const unsaid = { logger: undefined, shutdownTimeoutMs: undefined, retry: undefined }
    const harness = await harnessOf({ workers: [], logger, retry: { maxAttempts: 3, backoff: undefined } })
    await harness.startWorker(Writer, { ...unsaid, workerId: undefined })
    expect(logger.lines.map(({ message }) => message)).toContain('worker is consuming')
    expect(await harness.ask('third time')).toMatchObject({ status: 'COMPLETED', attempts: 3 })
    const hanging = await harnessOf({ workers: [Writer], ...unsaid })
    await expect(hanging.ask({ content: 'hang', timeoutMs: 100 })).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
    const began = performance.now()
    await hanging.close()
    expect(performance.now() - began).toBeLessThan(10_000)
  })

  test('that are still starting when the harness is closed have stopped when it is', async () => {
    const harness = await harnessOf({ workers: [Writer] })
    const late = harness.startWorker(Slow).catch((error) => error)
    await harness.close()
    expect(await Promise.race([late, sleep(0, 'still starting')])).toMatchObject({ code: 'GW_CLOSED' })
    expect(await bareRedis().keys(`*${harness.keyPrefix}*`)).toEqual([])
  })

  test('that are still starting do not outlive a private Redis', { timeout: 60_000 }, async () => {
    const harness = await createTestHarness({ workers: [] })
    const late = harness.startWorker(Slow).catch((error) => error)
    await harness.close()
    expect(await Promise.race([late, sleep(1_000, 'still starting')])).toMatchObject({ code: 'GW_CLOSED' })
  })

  test('that cannot reach Redis say so, whatever comes of closing', { timeout: 60_000 }, async () => {
    const nobody = 'redis://127.0.0.1:9'
    await expect(createTestHarness({ redis: nobody, workers: [Writer] })).rejects.toMatchObject({
      code: 'GW_REDIS_UNREACHABLE',
    })
  })

  test('that do not start leave nothing behind', async () => {
    class Broken extends Writer {
      override onStartup(): never {
        throw new Error('no licence')
      }
    }
    await expect(createTestHarness({ redis: testRedisUrl(), workers: [Writer, Broken] })).rejects.toThrow('no licence')
    await expect(createTestHarness({ redis: testRedisUrl(), workers: [class {} as never] })).rejects.toMatchObject({
      code: 'GW_INVALID_ARGUMENT',
    })
  })
})

test('on a Redis that is given, harnesses do not meet, and take their keys with them', async () => {
  const [one, two] = [await harnessOf({ workers: [Writer] }), await harnessOf({ workers: [Writer] })]
  const answers = await Promise.all([one.ask('x'), two.ask('x')])
  expect(answers.map(({ data }) => data)).toEqual([
    { content: 'x', workerId: one.workers[0]?.workerId },
    { content: 'x', workerId: two.workers[0]?.workerId },
  ])
  await using visitor = new GatewayClient({ redis: one.redisUrl, keyPrefix: one.keyPrefix })
  expect(await visitor.listTasks()).toHaveLength(1)
  const redis = bareRedis()
  const keys = (keyPrefix: string) => redis.keys(`*${keyPrefix}*`)
  expect(await keys(one.keyPrefix)).not.toEqual([])
  await Promise.all([one.close(), one.close()])
  expect(await keys(one.keyPrefix)).toEqual([])
  expect(await keys(two.keyPrefix)).not.toEqual([])
  await expect(one.ask('x')).rejects.toMatchObject({ code: 'GW_CLOSED' })
})

test('closing does not wait long for a task that hangs', async () => {
  const harness = await harnessOf({ workers: [Writer], shutdownTimeoutMs: 50 })
  await expect(harness.ask({ content: 'hang', timeoutMs: 100 })).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
  await harness.close()
  expect(harness.workers.map(({ running }) => running)).toEqual([0])
})
