import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { AgentCall, GroupReply } from '../../../src/agent/calls.ts'
import type { AgentContext } from '../../../src/agent/context.ts'
import { defineAgent } from '../../../src/agent/contract.ts'
import { type AgentCallError, TerminalError } from '../../../src/errors.ts'
import type { AskAgentCommand } from '../../../src/protocol/command.ts'
import { TaskRecords } from '../../../src/store/task-records.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { untilAborted } from '../../../src/util/until-aborted.ts'
import { connect } from '../../redis/harness.ts'
import { Gate, House } from '../harness.ts'

const send = { targetAgentType: 'parent', sessionId: 's', messageId: 'm', content: 'hi' }
const capabilities = ['parent', 'child']
type Handler = (command: AskAgentCommand, context: AgentContext) => unknown
const family = (parent: Handler, child: Handler) => (command: AskAgentCommand, context: AgentContext) =>
  (context.agentType === 'parent' ? parent : child)(command, context)
const calls = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ targetAgentType: 'child', content: `${i}` }))

describe('dispatchGroup', () => {
  test('resolves with all replies, settled one by one, in the order of the tasks', async () => {
    const house = new House()
    await house.work(
      family(
        (_, context) => context.dispatchGroup(calls(5)),
        ({ content }) => {
          if (content === '3') throw new TerminalError('not three')
          return `${content}!`
        },
      ),
      { capabilities },
    )
    const { data } = await house.client().ask<GroupReply[]>(send)
    expect(data.map((reply) => ('content' in reply ? reply.content : reply.error.message))).toEqual([
      ...['0!', '1!', '2!', 'not three', '4!'],
    ])
    expect(data.map(({ status }) => status)).toEqual(['COMPLETED', 'COMPLETED', 'COMPLETED', 'FAILED', 'COMPLETED'])
    expect(new Set(data.map(({ messageId }) => messageId)).size).toBe(5)
  })

  const doubler = defineAgent('child', { input: z.object({ n: z.number() }), output: z.unknown() })

  test('with a call that is at fault itself: that one has failed, the others are answered', async () => {
    const house = new House()
    let ran = 0
    await house.work(
      family(
        (_, context) =>
          context.dispatchGroup([
            { target: doubler, content: { n: 1 } },
            { target: doubler, content: { n: 'two' } as never },
            { targetAgentType: 'child', content: { n: 3, text: 'x'.repeat(10_000) } },
          ]),
        ({ content }) => {
          ran += 1
          return (content as { n: number }).n * 2
        },
      ),
      { capabilities, maxPayloadBytes: 5_000 },
    )
    const { data } = await house.client().ask<GroupReply[]>(send)
    expect(data).toMatchObject([
      { status: 'COMPLETED', data: 2, agentType: 'child' },
      { status: 'FAILED', error: { code: 'GW_CONTRACT_VIOLATION' }, agentType: 'child' },
      { status: 'FAILED', error: { code: 'GW_PAYLOAD_TOO_LARGE' }, messageId: expect.stringMatching(/^sub-/) },
    ])
    expect(ran).toBe(1)
  })

  test('with failFast such a call cancels the others, which are on their way', async () => {
    const house = new House()
    await house.work(
      family(
        (_, context) =>
          context.dispatchGroup([...calls(2), { target: doubler, content: {} as never }], { failFast: true }),
        (_, { signal }) => new Promise((resolve) => signal.addEventListener('abort', resolve)),
      ),
      { capabilities },
    )
    const { data } = await house.client().ask<GroupReply[]>({ ...send, timeoutMs: 15_000 })
    expect(data.map(({ status }) => status)).toEqual(['CANCELLED', 'CANCELLED', 'FAILED'])
  })

  test('but what concerns the calling task itself is thrown: a cancel', async () => {
    const house = new House()
    const gate = new Gate()
    const seen: unknown[] = []
    await house.work(
      family(
        (_, context) => context.dispatchGroup(calls(2)).catch((error) => void seen.push(error.code)),
        (_, { signal }) => untilAborted(gate.pass(), signal),
      ),
      { capabilities },
    )
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(2)
    await client.cancelTask({ sessionId: 's', messageId: 'm' })
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'CANCELLED' })
    expect(seen).toEqual(['GW_CANCELLED'])
  })

  test('of a thousand', { timeout: 60_000 }, async () => {
    const house = new House()
    let ran = 0
    await house.work(
      family(
        async (_, context) =>
          (await context.dispatchGroup(calls(1_000))).map((reply) => 'content' in reply && reply.content),
        ({ content }) => {
          ran += 1
          return `${content}!`
        },
      ),
      { capabilities, suspendAfterMs: 200 },
    )
    const { data } = await house.client().ask(send)
    expect(data).toEqual(Array.from({ length: 1_000 }, (_, i) => `${i}!`))
    expect(ran).toBe(1_000)
  })

  test('without waiting resolves when all are accepted', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(
      family(
        (_, context) => context.dispatchGroup(calls(3), { waitForReply: false }),
        () => gate.pass(),
      ),
      { capabilities },
    )
    const { data } = await house.client().ask<{ status: string }[]>(send)
    expect(data.map(({ status }) => status)).toEqual(['QUEUED', 'QUEUED', 'QUEUED'])
    await gate.reached(3)
    gate.open()
    await house.settled(...capabilities)
  })

  test('says for all of its calls whether it waits, and the called agents hear of it', async () => {
    const house = new House()
    const waits: boolean[] = []
    await house.work(
      family(
        async (_, context) => {
          await context.dispatchGroup(calls(1), { waitForReply: false })
          await context.dispatchGroup(calls(1))
        },
        ({ waitForReply }) => waits.push(waitForReply),
      ),
      { capabilities },
    )
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED' })
    await house.settled(...capabilities)
    expect(waits.sort()).toEqual([false, true])
  })

  test.each([[true], [false]])('that waits (%s) refuses a call that says otherwise', async (waitForReply) => {
    const house = new House()
    await house.work(
      family(
        (_, context) =>
          context.dispatchGroup([...calls(1), { ...calls(1)[0], waitForReply: !waitForReply } as AgentCall], {
            waitForReply,
          }),
        () => null,
      ),
      { capabilities },
    )
    const { error } = await house.client().ask({ ...send, retry: { maxAttempts: 1 }, timeoutMs: 5_000 })
    expect(error).toMatchObject({
      code: 'GW_INVALID_ARGUMENT',
      message: expect.stringMatching(
        /^tasks\.1\.waitForReply is invalid: a group waits for all of its calls or for none/,
      ),
    })
  })

  test('with failFast cancels what has not ended', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(
      family(
        async (_, context) => (await context.dispatchGroup(calls(3), { failFast: true })).map(({ status }) => status),
        async ({ content }, { signal }) => {
          void gate.pass()
          await gate.reached(3)
          if (content === '1') throw new TerminalError('no')
          await new Promise((resolve) => signal.addEventListener('abort', resolve))
        },
      ),
      { capabilities },
    )
    const { data } = await house.client().ask(send)
    expect(data).toEqual(['CANCELLED', 'FAILED', 'CANCELLED'])
    gate.open()
  })

  test('with failFast goes on with a cancel whose worker died before it came to what the cancelled had called', async () => {
    const house = new House()
    const failing = new Gate()
    const parent: Handler = async (_, context) => {
      const tasks = ['middle', 'failing'].map((targetAgentType) => ({ targetAgentType, content: 'x' }))
      return (await context.dispatchGroup(tasks, { failFast: true })).map(({ status }) => status)
    }
    const others: Handler = async (_, context) => {
      if (context.agentType === 'middle') return context.callAgent({ targetAgentType: 'leaf', content: 'x' })
      if (context.agentType === 'leaf') return untilAborted(new Promise(() => undefined), context.signal)
      await failing.pass()
      throw new TerminalError('no')
    }
    const first = await house.work(parent, { capabilities: ['parent'], suspendAfterMs: 0 })
    await house.work(others, { capabilities: ['middle', 'failing', 'leaf'] })
    const client = house.client()
    await client.sendMessage(send)
    const tasks = async () => {
      const ids = (await house.redis.zrange(house.keys.session('s'), '0', '-1')).filter((id) => id !== '')
      const types = await Promise.all(ids.map((id) => house.redis.hget(house.keys.task('s', id), 'agent_type')))
      return new Map(types.map((agentType, index) => [agentType, { sessionId: 's', messageId: ids[index] ?? '' }]))
    }
    const statusOf = async (agentType: string) => {
      const ref = (await tasks()).get(agentType)
      return ref === undefined ? undefined : (await client.getTask(ref))?.status
    }
    await waitFor(async () => (await statusOf('parent')) === 'WAITING_AGENT' && (await statusOf('leaf')) === 'RUNNING')
    await first.stop()
    failing.open()
    await waitFor(async () => (await statusOf('failing')) === 'FAILED')
    // As far as one comes who dies then.
    const middle = (await tasks()).get('middle') ?? send
    const records = new TaskRecords(connect().client('patient'), house.keys)
    await records.requestCancel(middle, { reason: 'failFast', requestedBy: 'm' })
    await waitFor(async () => (await statusOf('middle')) === 'CANCELLED', { timeoutMs: 15_000 })
    expect(await statusOf('leaf')).toBe('RUNNING')
    await house.work(parent, { capabilities: ['parent'] })
    expect((await client.result({ sessionId: 's', messageId: 'm' })).data).toEqual(['CANCELLED', 'FAILED'])
    await waitFor(async () => (await statusOf('leaf')) === 'CANCELLED')
  })
})

describe('timeoutMs', () => {
  test('rejects the call and cancels the called task', async () => {
    const house = new House()
    let childId = ''
    await house.work(
      family(
        async (_, context) => {
          try {
            await context.callAgent({ targetAgentType: 'child', content: 'x', timeoutMs: 100 })
            return 'not reached'
          } catch (error) {
            const { status, fault } = error as AgentCallError
            return { status, fault }
          }
        },
        async (_, { signal, messageId }) => {
          childId = messageId
          await new Promise((resolve) => signal.addEventListener('abort', resolve))
        },
      ),
      { capabilities },
    )
    const client = house.client()
    const { data } = await client.ask(send)
    expect(data).toEqual({
      status: 'TIMEOUT',
      fault: { code: 'GW_TIMEOUT', message: expect.stringContaining('100 ms') },
    })
    expect((await client.result({ sessionId: 's', messageId: childId })).status).toBe('CANCELLED')
  })

  test('holds for a task that was suspended meanwhile, and nobody offers the called agent', async () => {
    const house = new House()
    let runs = 0
    await house.work(
      async (_, context) => {
        runs += 1
        await context
          .callAgent({ targetAgentType: 'nobody', content: 'x', timeoutMs: 400 })
          .catch((error: AgentCallError) => {
            if (error.status !== 'TIMEOUT') throw error
          })
        return 'gave up'
      },
      { suspendAfterMs: 20 },
    )
    const client = house.client()
    const { data } = await client.ask({ ...send, targetAgentType: 'agent' })
    expect([data, runs]).toEqual(['gave up', 2])
    const tasks = await client.listTasks({ sessionId: 's' })
    await waitFor(async () => (await client.listTasks({ sessionId: 's', status: 'CANCELLED' })).length === 1)
    expect(tasks).toHaveLength(2)
  })

  test('that is over between two attempts cancels the called task, which the next attempt calls anew', async () => {
    const house = new House()
    const called: string[] = []
    await house.work(
      family(
        async (_, context) => {
          const call = context.callAgent({ targetAgentType: 'child', content: 'x', timeoutMs: 300 })
          await waitFor(() => called.length === context.attempt)
          if (context.attempt === 1) throw new Error('again')
          return (await call).content
        },
        async (_, { signal, messageId }) => {
          called.push(messageId)
          if (called.length === 1) await untilAborted(new Promise(() => undefined), signal)
          return 'y'
        },
      ),
      { capabilities, retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 600 } } },
    )
    const client = house.client()
    expect((await client.ask(send)).data).toBe('y')
    const first = { sessionId: 's', messageId: called[0] ?? '' }
    expect(new Set(called).size).toBe(2)
    expect((await client.result({ ...first, timeoutMs: 2_000 })).status).toBe('CANCELLED')
  })

  test('that is not needed leaves nothing on the agenda', async () => {
    const house = new House()
    await house.work(
      family(
        (_, context) => context.callAgent({ targetAgentType: 'child', content: 'x', timeoutMs: 60_000 }),
        () => 'y',
      ),
      { capabilities },
    )
    expect((await house.client().ask(send)).status).toBe('COMPLETED')
    await waitFor(async () => {
      const left = await Promise.all([0, 1, 2, 3].map((shard) => house.redis.zcard(house.keys.agenda(shard).due)))
      return left.every((count) => count === 0)
    })
  })
})

describe('cancel', () => {
  test.each([
    ['waits in memory', 30_000],
    ['is suspended', 20],
  ])('of a task that %s ends it and what it called', async (_, suspendAfterMs) => {
    const house = new House()
    const gate = new Gate()
    let childId = ''
    let heard = ''
    await house.work(
      family(
        async (_, context) => {
          try {
            await context.callAgent({ targetAgentType: 'child', content: 'x' })
          } catch (error) {
            heard = (error as { code: string }).code
            throw error
          }
        },
        async (_, { signal, messageId }) => {
          childId = messageId
          void gate.pass()
          await new Promise((resolve) => signal.addEventListener('abort', resolve))
        },
      ),
      { capabilities, suspendAfterMs },
    )
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    const isSuspended = suspendAfterMs < 100
    if (isSuspended)
      await waitFor(async () => (await client.getTask({ sessionId: 's', messageId: 'm' }))?.status === 'WAITING_AGENT')
    const answer = await client.cancelTask({ sessionId: 's', messageId: 'm', reason: 'enough' })
    expect(answer.status).toBe(isSuspended ? 'CANCELLED' : 'CANCEL_REQUESTED')
    const end = await client.result({ sessionId: 's', messageId: 'm' })
    expect(end).toMatchObject({ status: 'CANCELLED', error: { message: expect.stringContaining('enough') } })
    expect((await client.result({ sessionId: 's', messageId: childId })).status).toBe('CANCELLED')
    expect(heard).toBe(isSuspended ? '' : 'GW_CANCELLED')
    expect(await house.redis.exists(house.keys.journal('s', 'm'))).toBe(0)
    await house.settled(...capabilities)
    gate.open()
  })

  test('of a called task rejects the call, also of one that is suspended', async () => {
    const house = new House()
    const gate = new Gate()
    let childId = ''
    await house.work(
      family(
        (_, context) =>
          context
            .callAgent({ targetAgentType: 'child', content: 'x' })
            .catch((error: AgentCallError) => `${error.status} ${error.fault.code}`),
        async (_, context) => {
          childId = context.messageId
          void gate.pass()
          await context.callAgent({ targetAgentType: 'nobody', content: 'x' })
        },
      ),
      { capabilities, suspendAfterMs: 20 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    await waitFor(async () => (await client.listTasks({ sessionId: 's', status: 'WAITING_AGENT' })).length === 2)
    await client.cancelTask({ sessionId: 's', messageId: childId })
    expect((await client.result({ sessionId: 's', messageId: 'm' })).data).toBe('CANCELLED GW_CANCELLED')
    gate.open()
  })
})
