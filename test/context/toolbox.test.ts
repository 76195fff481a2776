import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type ToolContext, tool } from '../../src/agent/tool.ts'
import { Toolbox } from '../../src/context/toolbox.ts'
import { ToolInputError, ToolNotFoundError } from '../../src/errors.ts'
import { createLogger } from '../../src/logger.ts'
import { processWarnings } from '../support/warnings.ts'
import { House } from '../worker/harness.ts'

const context = (signal = new AbortController().signal): ToolContext => ({
  ...{ signal, sessionId: 's', messageId: 'm', attempt: 1, fencingToken: 1, logger: createLogger('silent') },
})
const city = z.object({ city: z.string().min(2), days: z.coerce.number().default(1) })
const weather = tool({
  description: 'the weather',
  input: city,
  execute: async ({ city: name, days }) => ({ name, days }),
})

describe('a call', () => {
  test('gets the input as the schema made it', async () => {
    const toolbox = new Toolbox({ weather })
    expect(await toolbox.call('weather', { city: 'Beijing', days: '3' }, context())).toEqual({
      name: 'Beijing',
      days: 3,
    })
    expect(await toolbox.call('weather', { city: 'Beijing' }, context())).toEqual({ name: 'Beijing', days: 1 })
  })

  test('of an unknown name says which there are', async () => {
    const toolbox = new Toolbox({ weather, another: weather })
    const error = await toolbox.call('forecast', {}, context()).catch((reason) => reason)
    expect(error).toBeInstanceOf(ToolNotFoundError)
    expect(error).toMatchObject({
      code: 'GW_TOOL_NOT_FOUND',
      message: "there is no tool 'forecast' (known: another, weather)",
    })
    await expect(new Toolbox({}).call('x', {}, context())).rejects.toThrow("there is no tool 'x' (known: none)")
  })

  test.each(['constructor', 'toString', '__proto__', 'hasOwnProperty', ''])('%j is no tool', async (name) => {
    await expect(new Toolbox({ weather }).call(name, {}, context())).rejects.toBeInstanceOf(ToolNotFoundError)
  })

  test('with bad input names every path, and the tool does not run', async () => {
    let ran = 0
    const counting = tool({
      ...{ description: '', input: city },
      execute: () => {
        ran += 1
      },
    })
    const error = await new Toolbox({ counting })
      .call('counting', { city: 'B', days: 'x' }, context())
      .catch((reason) => reason)
    expect(error).toBeInstanceOf(ToolInputError)
    expect(error).toMatchObject({ code: 'GW_TOOL_INPUT_INVALID', message: expect.stringMatching(/city: .*; days: /) })
    await expect(new Toolbox({ counting }).call('counting', undefined, context())).rejects.toBeInstanceOf(
      ToolInputError,
    )
    expect(ran).toBe(0)
  })

  test('with a schema, checks what comes out', async () => {
    const output = z.object({ summary: z.string().transform((text) => text.trim()) })
    const make = (value: unknown) =>
      new Toolbox({ t: tool({ description: '', input: z.any(), output, execute: () => value as never }) })
    expect(await make({ summary: ' x ' }).call('t', {}, context())).toEqual({ summary: 'x' })
    await expect(make({ summary: 7 }).call('t', {}, context())).rejects.toMatchObject({
      ...{
        code: 'GW_TOOL_OUTPUT_INVALID',
        message: expect.stringMatching(/^output of tool 't' is invalid: summary: /),
      },
    })
  })

  test('what the tool throws comes through as it is', async () => {
    const boom = new RangeError('boom')
    const throwing = tool({ description: '', input: z.any(), execute: () => Promise.reject(boom) })
    const rude = tool({
      description: '',
      input: z.any(),
      timeoutMs: 1_000,
      execute: () => {
        throw boom
      },
    })
    const toolbox = new Toolbox({ throwing, rude })
    await expect(toolbox.call('throwing', {}, context())).rejects.toBe(boom)
    await expect(toolbox.call('rude', {}, context())).rejects.toBe(boom)
  })
})

describe('a tool with a time', () => {
  test('that takes too long is told by its signal and rejected, whether it listens or not', async () => {
    let heard: unknown
    const slow = tool({
      ...{ description: '', input: z.any(), timeoutMs: 30 },
      execute: (_input, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            heard = signal.reason
            reject(new Error('late words'))
          })
        }),
    })
    const deaf = tool({ description: '', input: z.any(), timeoutMs: 30, execute: () => new Promise(() => undefined) })
    const toolbox = new Toolbox({ slow, deaf })
    const expected = { code: 'GW_TOOL_TIMEOUT', message: "tool 'slow' took longer than 30 ms" }
    await expect(toolbox.call('slow', {}, context())).rejects.toMatchObject(expected)
    expect(heard).toMatchObject(expected)
    await expect(toolbox.call('deaf', {}, context())).rejects.toMatchObject({ code: 'GW_TOOL_TIMEOUT' })
  })

  test('that is in time leaves no timer', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    const before = timers()
    const quick = tool({ description: '', input: z.any(), timeoutMs: 60_000, execute: () => 'done' })
    expect(await new Toolbox({ quick }).call('quick', {}, context())).toBe('done')
    expect(timers()).toBeLessThanOrEqual(before)
  })

  test('may do many things that listen to its signal, and Node does not take that for a leak', async () => {
    const warnings = processWarnings()
    const busy = tool({
      ...{ description: '', input: z.any(), timeoutMs: 60_000 },
      execute: async (_input, { signal }) => {
        for (let count = 0; count < 30; count += 1) signal.addEventListener('abort', () => undefined)
        await nextTurn()
      },
    })
    await new Toolbox({ busy }).call('busy', {}, context())
    expect(warnings).toEqual([])
  })

  test('hears the task’s signal too', async () => {
    const controller = new AbortController()
    let heard: unknown
    const listening = tool({
      ...{ description: '', input: z.any(), timeoutMs: 60_000 },
      execute: (_input, { signal }) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            heard = signal.reason
            resolve(heard)
          })
          controller.abort('enough')
        }),
    })
    await new Toolbox({ listening }).call('listening', {}, context(controller.signal))
    expect(heard).toBe('enough')
  })
})

test('a handler calls its worker’s tools with the task’s ids and signal', async () => {
  const house = new House()
  let given: Partial<ToolContext> = {}
  const spy = tool({
    ...{ description: '', input: city },
    execute: ({ city: name }, toolContext) => {
      given = toolContext
      return `sunny in ${name}`
    },
  })
  await house.work(
    async (_command, context) => {
      const errors = await Promise.allSettled([context.callTool('nothing', {}), context.callTool('spy', { city: '' })])
      return [await context.callTool<string>('spy', { city: 'Beijing' }), ...errors.map(({ status }) => status)]
    },
    { tools: { spy } },
  )
  const result = await house.client().ask({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
  expect(result.data).toEqual(['sunny in Beijing', 'rejected', 'rejected'])
  expect(given).toMatchObject({
    ...{ sessionId: 's', messageId: result.messageId, signal: expect.any(AbortSignal), attempt: 1, fencingToken: 1 },
    logger: expect.objectContaining({ info: expect.any(Function) }),
  })
})
