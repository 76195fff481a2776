import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { TerminalError } from '../../src/errors.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Gate, House } from '../worker/harness.ts'

const RESULT_TTL_MS = 500
const send = { targetAgentType: 'agent', sessionId: 's' }
const ref = (messageId: string) => ({ sessionId: 's', messageId })

/** How a task is without an end, and says nothing, for longer than the results of others are kept. */
const waits: readonly [status: string, content: string, more: object][] = [
  ['QUEUED', 'hi', { targetAgentType: 'nobody' }],
  ['DELAYED', 'hi', { delayMs: 600_000 }],
  ['RUNNING', 'silent', {}],
  ['RETRYING', 'fail', {}],
  ['WAITING_USER', 'ask', {}],
]

async function open() {
  const house = new House()
  const gate = new Gate()
  let wasTried = false
  await house.work(
    async (command, context: AgentContext) => {
      if (command.content === 'once' && !wasTried) {
        wasTried = true
        throw new TerminalError('boom')
      }
      if (command.content === 'silent' || command.content === 'once') await gate.pass()
      if (command.content === 'fail') throw new Error('boom')
      if (command.content === 'ask') await context.askUser('Well?')
    },
    {
      ...{ resultTtlMs: RESULT_TTL_MS, suspendAfterMs: 20, maxConcurrency: 10 },
      retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 600_000 } },
    },
  )
  const client = house.client({ resultTtlMs: RESULT_TTL_MS })
  /** Others of the session end, and their results are forgotten. */
  const elapse = async () => {
    await client.ask({ ...send, messageId: 'other', content: 'hi' })
    await waitFor(async () => (await house.redis.exists(house.keys.task('s', 'other'))) === 0)
    await pause(RESULT_TTL_MS)
  }
  return { house, client, gate, elapse }
}

describe('what has no end is found, however long ago another task of its session had one', () => {
  test.each(waits)('%s', async (status, content, more) => {
    const { house, client, gate, elapse } = await open()
    await client.sendMessage({ ...send, messageId: 'above', content: 'hi', targetAgentType: 'nobody' })
    const task = { ...send, messageId: 'm', parentMessageId: 'above', content, ...more }
    await client.sendMessage(task)
    await waitFor(async () => (await client.getTask(ref('m')))?.status === status)
    await elapse()
    await elapse()
    expect(await house.redis.exists(house.keys.session('s'))).toBe(1)
    expect((await client.listTasks({ sessionId: 's' })).map(({ messageId }) => messageId)).toEqual(['above', 'm'])
    expect((await client.getTree('s', 'above'))?.children).toMatchObject([{ task: { messageId: 'm', status } }])
    // Listens before the end is there, which is not for long.
    const result = client.result(ref('m'))
    const { tasks } = await client.cancelSession('s')
    expect(new Set(tasks.map(({ messageId }) => messageId))).toEqual(new Set(['above', 'm']))
    gate.open()
    expect(await result).toMatchObject({ status: 'CANCELLED' })
    // With the last end the index gets its time.
    await waitFor(async () => (await house.redis.exists(house.keys.session('s'))) === 0)
  })

  test('and is deleted with its session', async () => {
    const { house, client, elapse } = await open()
    for (const [status, content, more] of waits.filter(([status]) => status !== 'RUNNING')) {
      await client.sendMessage({ ...send, messageId: status, content, ...more })
      await waitFor(async () => (await client.getTask(ref(status)))?.status === status)
    }
    await elapse()
    expect(await client.deleteSession('s')).toMatchObject({ success: true, cancelled: 4, left: 0 })
    expect((await house.redis.keys(`${house.prefix}:*`)).filter((key) => key.includes('{s}'))).toEqual([])
  })

  test('also one that was sent when the others had their end', async () => {
    const { house, client, elapse } = await open()
    await client.ask({ ...send, messageId: 'first', content: 'hi' })
    expect(await house.redis.pttl(house.keys.session('s'))).toBeGreaterThan(0)
    await client.sendMessage({ ...send, messageId: 'm', content: 'hi', targetAgentType: 'nobody' })
    await elapse()
    expect((await client.listTasks({ sessionId: 's' })).map(({ messageId }) => messageId)).toEqual(['m'])
  })

  test('also one that was redriven', async () => {
    const { client, gate, elapse } = await open()
    expect(await client.ask({ ...send, messageId: 'm', content: 'once' })).toMatchObject({ status: 'FAILED' })
    await waitFor(async () => (await client.redriveDeadLetters({ sessionId: 's' })).redriven === 1)
    await gate.reached(1)
    await elapse()
    expect((await client.listTasks({ sessionId: 's' })).map(({ messageId }) => messageId)).toEqual(['m'])
    gate.open()
    expect(await client.result(ref('m'))).toMatchObject({ status: 'COMPLETED' })
  })
})
