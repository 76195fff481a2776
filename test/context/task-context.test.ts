import { expect, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { Gate, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

test('what is emitted has the type of its method, whatever else the object holds', async () => {
  const house = new House()
  await house.work(async (_command, context) => {
    const more = { type: 'done', status: 'COMPLETED', result: 'forged', messageId: 'x' }
    await context.emitState({ state: 'thinking', ...more } as { state: string })
    await context.emitChunk({ content: 'text', ...more } as { content: string })
    await context.emitArtifact({ name: 'file', ...more } as { name: string })
    return 'real'
  })
  const events: SessionEvent[] = []
  const result = await house.client().ask({ ...send, onEvent: (event) => events.push(event) })
  expect(result.data).toBe('real')
  expect(events.map(({ type }) => type)).toEqual(['state', 'chunk', 'artifact', 'done'])
  expect(await house.dones('s', result.messageId)).toHaveLength(1)
})

test('the signal, isCancelled and throwIfCancelled agree, before and after an abort', async () => {
  const house = new House()
  const seen: unknown[] = []
  const gate = new Gate()
  await house.work(
    async (_command, context) => {
      seen.push(context.isCancelled, context.signal.aborted)
      context.throwIfCancelled()
      context.signal.addEventListener('abort', () => {
        seen.push(context.isCancelled, context.signal.aborted, context.signal.reason.code)
        try {
          context.throwIfCancelled()
        } catch (error) {
          seen.push(error === context.signal.reason)
        }
      })
      await gate.pass()
    },
    { taskTimeoutMs: 40 },
  )
  await house.client().ask(send)
  gate.open()
  expect(seen).toEqual([false, false, true, true, 'GW_TASK_TIMEOUT', true])
})

test('a logger knows the task', async () => {
  const house = new House()
  await house.work(
    (_command, context) => {
      context.logger.info({ step: 1 }, 'looking')
    },
    { workerId: 'w' },
  )
  const { messageId } = await house.client().ask({ ...send, traceId: 'trace' })
  expect(house.logger.lines.find(({ message }) => message === 'looking')?.fields).toEqual({
    ...{ workerId: 'w', sessionId: 's', messageId, traceId: 'trace', attempt: 1, step: 1 },
  })
})

test('a handler that goes on after its time writes nothing more and harms nobody', async () => {
  const house = new House()
  const gate = new Gate()
  const late: Promise<unknown>[] = []
  await house.work(
    async (command, context) => {
      if (command.content !== 'hi') return 'fine'
      await gate.pass()
      late.push(Promise.allSettled([context.emitChunk('late'), context.emitData({})]))
      return 'too late'
    },
    { taskTimeoutMs: 40 },
  )
  const client = house.client()
  const result = await client.ask(send)
  expect(result).toMatchObject({ status: 'FAILED', error: { code: 'GW_TASK_TIMEOUT' } })
  gate.open()
  expect(await client.ask({ ...send, content: 'next' })).toMatchObject({ data: 'fine' })
  expect(await late[0]).toEqual([
    ...[expect.objectContaining({ status: 'rejected' }), expect.objectContaining({ status: 'rejected' })],
  ])
  expect((await client.result({ sessionId: 's', messageId: result.messageId })).status).toBe('FAILED')
  expect(await house.dones('s', result.messageId)).toHaveLength(1)
})

test.each<[string, (context: AgentContext) => Promise<unknown>, string]>([
  [
    'emitChunk of something else',
    (context) => context.emitChunk(7 as never),
    'chunk is invalid: must be a text (got 7)',
  ],
  [
    'emitChunk of an object without a text',
    (context) => context.emitChunk({ text: 'x' } as never),
    'chunk.content is invalid: must be a text',
  ],
  [
    'emitState of an object without a text',
    (context) => context.emitState({ state: 7 } as never),
    'state.state is invalid: must be a text (got 7)',
  ],
  [
    'emitState of something else',
    (context) => context.emitState(7 as never),
    'state is invalid: must be a text (got 7)',
  ],
  [
    'step of something else',
    (context) => context.step('plan', 'x' as never),
    'what step \'plan\' runs is invalid: must be a function (got "x")',
  ],
  [
    'askUser of something else',
    (context) => context.askUser(null as never),
    'the question is invalid: must be an object with named members',
  ],
  [
    'dispatchGroup of something else',
    (context) => context.dispatchGroup({} as never),
    'the list of calls is invalid: must be an array (got {})',
  ],
  [
    'dispatchGroup with a call that is none',
    (context) => context.dispatchGroup([{ targetAgentType: 'a', content: 'x' }, null as never]),
    'tasks.1 is invalid: must be an object with named members',
  ],
  [
    'dispatchGroup with a call at fault',
    (context) =>
      context.dispatchGroup([
        { targetAgentType: 'a', content: 'x' },
        { targetAgentType: 'a', content: ' ' },
      ]),
    'tasks.1.content is invalid: must not be blank (got " ")',
  ],
  [
    'callAgent of something else',
    (context) => context.callAgent(null as never),
    'the call is invalid: must be an object with named members',
  ],
  [
    'emitChunk with what is no option',
    (context) => context.emitChunk('x', { role: 'a' } as never),
    'role is invalid: there is no such option, only metadata (got "a")',
  ],
  ['emitState with no options', (context) => context.emitState('x', null as never), 'the options is invalid'],
  [
    'emitArtifact with metadata that are none',
    (context) => context.emitArtifact({ name: 'x' }, { metadata: 5 as never }),
    'metadata is invalid: must be an object with named members, not this (got 5)',
  ],
  [
    'askUser with what is no option',
    (context) => context.askUser({ prompt: 'How?', timeout: 5 } as never),
    'timeout is invalid: there is no such option, only prompt, schema, options, timeoutMs, answer (got 5)',
  ],
  [
    'dispatchGroup with what is no option',
    (context) => context.dispatchGroup([], { failfast: true } as never),
    'failfast is invalid: there is no such option, only waitForReply, failFast (got true)',
  ],
  ['dispatchGroup with no options', (context) => context.dispatchGroup([], null as never), 'the options is invalid'],
  [
    'callAgent with what is no option',
    (context) => context.callAgent({ targetAgentType: 'a', content: 'x', timeout: 5 } as never),
    'timeout is invalid',
  ],
])('%s is refused by name and value', async (_method, call, message) => {
  const house = new House()
  await house.work((_command, context) => call(context))
  const { error } = await house.client().ask({ ...send, retry: { maxAttempts: 1 } })
  expect(error).toEqual({ code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining(message) })
})
