import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { AgentContext } from '../../../src/agent/context.ts'
import { AgentCallError, TerminalError } from '../../../src/errors.ts'
import type { AskAgentCommand } from '../../../src/protocol/command.ts'
import { Journals } from '../../../src/store/journals.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { unhandledRejections } from '../../support/rejections.ts'
import { Gate, House } from '../harness.ts'

const cyclic = () => {
  const data: Record<string, unknown> = {}
  data.self = data
  return data
}
const send = { targetAgentType: 'parent', sessionId: 's', messageId: 'm', content: 'hi' }
type Handlers = Record<string, (command: AskAgentCommand, context: AgentContext) => unknown>
const by = (handlers: Handlers) => (command: AskAgentCommand, context: AgentContext) =>
  handlers[context.agentType]?.(command, context)

describe('callAgent', () => {
  test('resolves with what the other agent answered', async () => {
    const house = new House()
    const capabilities = ['parent', 'child']
    let header: unknown
    await house.work(
      by({
        parent: async (_, context) =>
          context.callAgent({ targetAgentType: 'child', content: 'six', metadata: { a: 1 } }),
        child: async (command, context) => {
          header = { ...command.header, wait: command.waitForReply, metadata: context.metadata }
          await context.emitChunk('thinking')
          return { content: 'seven', of: command.content }
        },
      }),
      { capabilities },
    )
    const client = house.client()
    const { data, status } = await client.ask({ ...send, userCode: 'u' })
    expect(status).toBe('COMPLETED')
    expect(data).toMatchObject({ status: 'COMPLETED', content: 'seven', data: { content: 'seven', of: 'six' } })
    const childId = (data as { messageId: string }).messageId
    expect(childId).toMatch(/^sub-[0-9a-f]{32}$/)
    expect(header).toMatchObject({
      ...{ messageId: childId, parentMessageId: 'm', sourceAgentType: 'parent', wait: true, userCode: 'u' },
      metadata: { a: 1 },
    })
    const child = await client.getTask({ sessionId: 's', messageId: childId })
    expect(child).toMatchObject({ status: 'COMPLETED', parentMessageId: 'm', attempt: 1 })
    await house.settled(...capabilities)
    expect(await house.redis.exists(house.keys.journal('s', 'm'))).toBe(0)
  })

  test('sends what it was called with, whatever the caller makes of that for the next call', async () => {
    const house = new House()
    const content = { city: '' }
    const extraPayload = { day: 0 }
    const each = <Result>(call: () => Result) =>
      ['Oslo', 'Lima'].map((city, day) => {
        content.city = city
        extraPayload.day = day
        return call()
      })
    await house.work(
      by({
        parent: async (_, context) => {
          const request = { targetAgentType: 'child', content, extraPayload }
          const sent = each(() => context.callAgent({ ...request, waitForReply: false }))
          const called = each(() => context.callAgent(request))
          const groups = each(() => context.dispatchGroup([request]))
          const replies = [...(await Promise.all(called)), ...(await Promise.all(groups)).flat()]
          return { sent: await Promise.all(sent), replies: replies.map((reply) => 'data' in reply && reply.data) }
        },
        child: ({ content, extraPayload }) => ({ content, extraPayload }),
      }),
      { capabilities: ['parent', 'child'] },
    )
    const client = house.client()
    const { sent, replies } = (await client.ask(send)).data as { sent: { messageId: string }[]; replies: unknown[] }
    const results = await Promise.all(sent.map(({ messageId }) => client.result({ sessionId: 's', messageId })))
    const two = [
      { content: { city: 'Oslo' }, extraPayload: { day: 0 } },
      { content: { city: 'Lima' }, extraPayload: { day: 1 } },
    ]
    expect(results.map(({ data }) => data)).toEqual(two)
    expect(replies).toEqual([...two, ...two])
  })

  test('a chain of ten in one worker with one slot completes', async () => {
    const house = new House()
    const capabilities = Array.from({ length: 10 }, (_, i) => `agent-${i}`)
    let most = 0
    let running = 0
    const worker = await house.work(
      async (_, context) => {
        running += 1
        most = Math.max(most, running)
        const next = Number(context.agentType.slice(6)) + 1
        if (next === 10) {
          running -= 1
          return '.'
        }
        running -= 1
        const { content } = await context.callAgent({ targetAgentType: `agent-${next}`, content: 'go' })
        expect(worker.running).toBe(1)
        return `${content}${next}`
      },
      { capabilities, maxConcurrency: 1 },
    )
    const { content } = await house.client().ask({ ...send, targetAgentType: 'agent-0' })
    expect(content).toBe('.987654321')
    expect(most).toBe(1)
    expect(worker.running).toBe(0)
    await house.settled(...capabilities)
  })

  test('several at once, each with its own answer, and a race', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(
      by({
        parent: async (_, context) => {
          const call = (content: string) => context.callAgent({ targetAgentType: 'child', content })
          const all = await Promise.all([call('a'), call('b'), call('a')])
          const first = await Promise.race([call('slow'), call('fast')])
          return {
            all: all.map(({ content }) => content),
            ids: all.map(({ messageId }) => messageId),
            first: first.content,
          }
        },
        child: async ({ content }) => {
          if (content === 'slow') await gate.pass()
          return `${content}!`
        },
      }),
      { capabilities: ['parent', 'child'] },
    )
    const { data } = await house.client().ask<{ all: string[]; ids: string[]; first: string }>(send)
    expect(data).toMatchObject({ all: ['a!', 'b!', 'a!'], first: 'fast!' })
    expect(new Set(data.ids).size).toBe(3)
    gate.open()
    await house.settled('parent', 'child')
  })

  test('a child that fails rejects the call with its status, code and text; the handler goes on', async () => {
    const house = new House()
    await house.work(
      by({
        parent: async (_, context) => {
          try {
            await context.callAgent({ targetAgentType: 'child', content: 'x' })
          } catch (error) {
            const { status, fault, code, message, agentType } = error as AgentCallError
            return { caught: error instanceof AgentCallError, status, fault, code, message, agentType }
          }
          return 'not reached'
        },
        child: () => {
          throw new TerminalError('no such city')
        },
      }),
      { capabilities: ['parent', 'child'] },
    )
    const { data } = await house.client().ask(send)
    expect(data).toMatchObject({
      ...{ caught: true, status: 'FAILED', code: 'GW_AGENT_CALL_FAILED', agentType: 'child' },
      fault: { code: 'GW_TASK_FAILED', message: 'no such city' },
    })
    expect((data as { message: string }).message).toContain('no such city')
  })

  test('with waitForReply false it resolves as soon as the task is accepted', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(
      by({
        parent: (_, context) => context.callAgent({ targetAgentType: 'child', content: 'x', waitForReply: false }),
        child: () => gate.pass(),
      }),
      { capabilities: ['parent', 'child'] },
    )
    const { data } = await house.client().ask<{ messageId: string; status: string }>(send)
    expect(data.status).toBe('QUEUED')
    await gate.reached(1)
    gate.open()
    const end = await house.client().result({ sessionId: 's', messageId: data.messageId })
    expect(end.status).toBe('COMPLETED')
  })

  test('with waitForReply false the task runs once, also where a replay comes when its record has expired', async () => {
    const house = new House()
    const ran: unknown[] = []
    const child = { targetAgentType: 'child', waitForReply: false } as const
    await house.work(
      by({
        parent: async (_, context) => {
          const one = await context.callAgent({ ...child, content: 'call' })
          const [two] = await context.dispatchGroup([{ ...child, content: 'group' }], { waitForReply: false })
          return [one.messageId, two?.messageId, await context.askUser('Well?')]
        },
        child: ({ content }) => ran.push(content),
      }),
      { capabilities: ['parent', 'child'], suspendAfterMs: 20, resultTtlMs: 50 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_USER')
    await house.settled('child')
    await waitFor(async () => (await client.listTasks({ sessionId: 's' })).length === 1)
    const [question] = await client.pendingAsks('s')
    const end = client.subscribe('s', { messageId: 'm' })
    await client.reply({ sessionId: 's', messageId: 'm', askId: question?.askId ?? '', content: 'yes' })
    for await (const event of end) if (event.type === 'done') expect(event.status).toBe('COMPLETED')
    await house.settled('parent', 'child')
    expect(ran.sort()).toEqual(['call', 'group'])
  })

  test('that was noted and not sent, because the worker died in between, is sent by the next run', async () => {
    const house = new House()
    const child = { targetAgentType: 'child' } as const
    await house.work(
      async (_, context) => {
        const answer = context.callAgent({ ...child, content: 'answered' })
        await context.callAgent({ ...child, content: 'accepted', waitForReply: false })
        await context.askUser('Well?')
        return (await answer).content
      },
      { capabilities: ['parent'], suspendAfterMs: 20 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_USER')
    // As on a Cluster, where what is noted is sent by a command of its own.
    expect(await house.waiting('child')).toBe(2)
    await house.redis.del(house.keys.control('child'))
    const [question] = await client.pendingAsks('s')
    await client.reply({ sessionId: 's', messageId: 'm', askId: question?.askId ?? '', content: 'yes' })
    await waitFor(async () => (await house.waiting('child')) === 2)
    const ran: unknown[] = []
    await house.work(({ content }) => ran.push(content) && 'done', { capabilities: ['child'] })
    expect((await client.result(send)).data).toBe('done')
    await house.settled('child')
    expect(ran.sort()).toEqual(['accepted', 'answered'])
  })

  test('a task without calls pays for none of it: no further command, no further key', async () => {
    const house = await House.private()
    await house.work(() => 'x')
    const client = house.client()
    await client.ask({ ...send, targetAgentType: 'agent', messageId: 'warm' })
    await house.settled()
    const seen = async () => {
      const stats = await house.redis.info('commandstats')
      return Object.fromEntries([...stats.matchAll(/cmdstat_(\w+):calls=(\d+)/g)].map(([, n, c]) => [n, Number(c)]))
    }
    const before = await seen()
    for (let i = 0; i < 50; i += 1) await client.ask({ ...send, targetAgentType: 'agent', messageId: `m-${i}` })
    await house.settled()
    const after = await seen()
    const grown = (name: string) => (after[name] ?? 0) - (before[name] ?? 0)
    // Per task: one hash of the record read by begin, commit and the cancel's look at the parent, none of a journal.
    expect(grown('hmget')).toBeLessThanOrEqual(50 * 3 + 20)
    expect(grown('unlink')).toBe(0)
    expect(grown('hincrby')).toBe(0)
    expect(grown('hexists')).toBe(0)
    expect(await house.redis.keys('queue:journal:*')).toEqual([])
  })

  test.each([
    ['targetAgentType', { targetAgentType: 'no good', content: 'x' }],
    ['target is invalid: must be a contract', { target: 'child', content: 'x' }],
    ['target is invalid: must be a contract', { target: { agentType: 'child' }, content: 'x' }],
    ['content', { targetAgentType: 'child', content: ' ' }],
    ['content is invalid', { targetAgentType: 'child', content: new Date(Number.NaN) }],
    ['timeoutMs', { targetAgentType: 'child', content: 'x', timeoutMs: -1 }],
    ['the arguments of a durable call', { targetAgentType: 'child', content: { big: 1n } }],
    ['the arguments of a durable call', { targetAgentType: 'child', content: 'x', metadata: cyclic() }],
    ['surprise', { targetAgentType: 'child', content: 'x', surprise: 1 }],
    ['messageId', { targetAgentType: 'child', content: 'x', messageId: send.messageId }],
    ['messageId', { targetAgentType: 'child', content: 'x', messageId: send.messageId, waitForReply: false }],
  ])('refuses a bad %s by name', async (field, call) => {
    const house = new House()
    await house.work((_, context) => context.callAgent(call as never), { retry: { maxAttempts: 1 } })
    const { error } = await house.client().ask({ ...send, targetAgentType: 'agent' })
    expect(error).toMatchObject({ code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining(field) })
  })
})

describe('what is begun together and awaited in turn does not end the process', () => {
  test('when a cancel breaks all of it off', async () => {
    const house = new House()
    const rejections = unhandledRejections()
    await house.work(
      by({
        parent: async (_, context) => {
          const answers = [
            context.callAgent({ targetAgentType: 'child', content: 'a' }),
            context.dispatchGroup([{ targetAgentType: 'child', content: 'b' }]),
            context.askUser('which?'),
            context.sleep(60_000),
          ]
          for (const answer of answers) await answer
        },
      }),
      { capabilities: ['parent'] },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await house.waiting('child')) === 2 && (await client.pendingAsks('s')).length === 1)
    await client.cancelTask({ sessionId: 's', messageId: 'm' })
    expect((await client.result({ sessionId: 's', messageId: 'm', timeoutMs: 5_000 })).status).toBe('CANCELLED')
    await pause(20)
    expect(rejections).toEqual([])
  })

  test('when one of it fails before its turn; it is heard of then', async () => {
    const house = new House()
    const rejections = unhandledRejections()
    await house.work(
      by({
        parent: async (_, context) => {
          const fail = () => {
            throw new Error('broken')
          }
          const late = [
            context.callAgent({ targetAgentType: 'child', content: 'a' }),
            context.step('step', fail),
            context.callTool('none', {}),
          ]
          await context.sleep(200)
          return (await Promise.allSettled(late)).map(({ status }) => status)
        },
        child: () => Promise.reject(new Error('broken')),
      }),
      { capabilities: ['parent', 'child'] },
    )
    expect((await house.client().ask(send)).data).toEqual(['rejected', 'rejected', 'rejected'])
    expect(rejections).toEqual([])
  })
})

describe('a cancel', () => {
  test('that comes while a call is noted is heard by who awaits the call', async () => {
    const house = new House()
    const client = house.client()
    const heard: string[] = []
    const { open } = Journals.prototype
    const noting = vi.spyOn(Journals.prototype, 'open')
    onTestFinished(() => noting.mockRestore())
    await house.work(
      by({
        parent: async (_, context) => {
          const aborted = once(context.signal, 'abort')
          noting.mockImplementationOnce(async function (this: Journals, opening) {
            const answer = await open.call(this, opening)
            await client.cancelTask({ sessionId: 's', messageId: 'm' })
            await aborted
            return answer
          })
          await context.callAgent({ targetAgentType: 'child', content: 'x' }).catch(({ code }) => heard.push(code))
        },
      }),
      { capabilities: ['parent'] },
    )
    await client.sendMessage(send)
    await waitFor(() => heard.length > 0)
    expect(heard).toEqual(['GW_CANCELLED'])
    expect((await client.result({ sessionId: 's', messageId: 'm' })).status).toBe('CANCELLED')
  })
})

describe('the answer of a call', () => {
  test('reaches a parent whose wake-up was lost', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(
      by({
        parent: async (_, context) => (await context.callAgent({ targetAgentType: 'child', content: 'x' })).content,
      }),
      { capabilities: ['parent'], workerId: 'w-parent' },
    )
    await house.work(
      by({
        child: async () => {
          await gate.pass()
          return 'late'
        },
      }),
      { capabilities: ['child'], workerId: 'w-child' },
    )
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    // The inbox has been read up to an id of the far future: what comes from now on is never heard.
    const inbox = house.keys.inbox('w-parent')
    await house.redis.xadd(inbox, '99999999999999-0', 'data', '{}', 'wake', 'agenda')
    await pause(100)
    await house.redis.del(inbox)
    gate.open()
    const result = await client.result({ sessionId: 's', messageId: 'm', timeoutMs: 30_000 })
    expect(result.content).toBe('late')
    expect(await house.redis.xlen(inbox)).toBe(1)
    await waitFor(async () => (await house.waiting('child')) === 0)
  })
})
