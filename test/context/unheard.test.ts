import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { definePlugin } from '../../src/agent/plugin.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }
const huge = 'x'.repeat(16_777_216)
const ids = { sessionId: 's', messageId: 'm', traceId: expect.any(String), attempt: 1 }

/** What was complained of that concerns a task. */
function complaints({ logger }: House) {
  return logger.lines.filter(({ level, fields }) => (level === 'warn' || level === 'error') && 'messageId' in fields)
}

/** A plugin through whose interceptor every event goes. */
const intercepting = () =>
  definePlugin({
    manifest: { pluginId: 'p', version: '1.0.0' },
    interceptors: {
      emit: async (input, next) => {
        await pause(1)
        await next(input)
      },
    },
  })

/** Faulty words, and the code by which they are refused. */
const faulty: [name: string, code: string, say: (context: AgentContext) => Promise<void>][] = [
  ['too large', 'GW_PAYLOAD_TOO_LARGE', (context) => context.emitChunk(huge)],
  ['no JSON', 'GW_INVALID_ARGUMENT', (context) => context.emitData({ x: 1n })],
  ['no text', 'GW_INVALID_ARGUMENT', (context) => context.emitChunk(undefined as unknown as string)],
]

describe.each([
  ['without interceptors', () => []],
  ['behind interceptors', () => [intercepting()]],
])('%s an event', (_, plugins) => {
  test.each(faulty)(
    'that is %s, and that nobody awaits, is told once in the log, with its ids',
    async (_, code, say) => {
      const house = new House()
      await house.work(
        async (_, context) => {
          for (let i = 0; i < 3; i += 1) void say(context)
          await context.emitChunk('a')
          await pause(20)
          void say(context)
          return null
        },
        { plugins: plugins() },
      )
      expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED', content: 'a' })
      await waitFor(() => complaints(house).length > 0)
      await pause(30)
      expect(complaints(house)).toEqual([
        {
          level: 'warn',
          fields: expect.objectContaining({ ...ids, err: expect.objectContaining({ code }) }),
          message: expect.stringContaining('nobody awaited'),
        },
      ])
    },
  )

  test.each(faulty)('that is %s is the handler’s affair if he awaits it', async (_, code, say) => {
    const house = new House()
    const codes: string[] = []
    await house.work(
      async (_, context) => {
        const note = (error: { code: string }) => void codes.push(error.code)
        await say(context).catch(note)
        await Promise.all([say(context), context.emitChunk('a')]).catch(note)
        try {
          await say(context)
        } catch (error) {
          note(error as { code: string })
        }
        return null
      },
      { plugins: plugins() },
    )
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED', content: 'a' })
    await pause(30)
    expect([codes, complaints(house)]).toEqual([[code, code, code], []])
  })

  test('that comes after the handler’s end is told once, too', async () => {
    const house = new House()
    await house.work(
      (_, context) => {
        setTimeout(() => {
          for (let i = 0; i < 5; i += 1) void context.emitChunk('late')
        }, 50)
        return 'early'
      },
      { plugins: plugins() },
    )
    await house.client().ask(send)
    await waitFor(() => complaints(house).length > 0)
    await pause(30)
    expect(complaints(house)).toEqual([
      {
        level: 'warn',
        fields: expect.objectContaining({ ...ids, err: expect.objectContaining({ code: 'GW_CLOSED' }) }),
        message: expect.stringContaining('nobody awaited'),
      },
    ])
  })

  test('that comes too late because the task is somebody else’s is told by what becomes of the attempt', async () => {
    const house = new House()
    const worker = await house.work(
      async (_, context) => {
        await house.redis.hset(house.keys.task('s', 'm'), 'fence', 'R:9:9-9:other')
        for (let i = 0; i < 5; i += 1) void context.emitChunk('lost')
        await pause(100)
        for (let i = 0; i < 5; i += 1) void context.emitChunk('lost')
        return null
      },
      { plugins: plugins() },
    )
    await house.client().sendMessage(send)
    await waitFor(() => complaints(house).length > 0)
    await pause(200)
    expect(complaints(house)).toEqual([
      {
        level: 'warn',
        fields: expect.objectContaining({ ...ids, code: 'GW_LEASE_LOST' }),
        message: 'attempt given up',
      },
    ])
    await worker.stop()
  })
})
