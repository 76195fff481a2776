import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { z } from 'zod'
import type { AgentContext } from '../../../src/agent/context.ts'
import type { HistoryStore } from '../../../src/agent/history.ts'
import { tool } from '../../../src/agent/tool.ts'
import { MemoryHistory } from '../../../src/history/memory.ts'
import { deferred } from '../../../src/util/deferred.ts'
import { sleep } from '../../../src/util/sleep.ts'
import { unhandledRejections } from '../../support/rejections.ts'
import { House } from '../harness.ts'

const TOOLS = {
  slow: tool({
    description: 'Waits until it is to end.',
    input: z.object({}),
    execute: (_, { signal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  }),
}

const CALLS: [string, (context: AgentContext) => Promise<unknown>][] = [
  ['a call', (context) => context.callAgent({ targetAgentType: 'nobody', content: 'x' })],
  ['a group', (context) => context.dispatchGroup([{ targetAgentType: 'nobody', content: 'x' }])],
  ['a question', (context) => context.askUser('Which one?')],
  ['a sleep', (context) => context.sleep(50_000)],
  ['a tool', (context) => context.callTool('slow', {})],
]

test.each(CALLS)('%s that a cancelled handler had not come to await does not end the process', async (_, call) => {
  const unheard = unhandledRejections()
  const house = new House()
  const asked = deferred()
  const handle = async (_: unknown, context: AgentContext) => {
    const other = call(context)
    asked.resolve()
    await context.sleep(60_000)
    return other
  }
  await house.work(handle, { tools: TOOLS })
  const client = house.client()
  const { messageId } = await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
  await asked.promise
  await sleep(50)
  await client.cancelTask({ sessionId: 's', messageId })
  await expect(client.result({ sessionId: 's', messageId, timeoutMs: 5_000 })).resolves.toMatchObject({
    status: 'CANCELLED',
  })
  await nextTurn()
  expect(unheard).toEqual([])
})

test('one that is over its time, and one that calls after its end, do not either', async () => {
  const unheard = unhandledRejections()
  const house = new House()
  const late = deferred()
  await house.work(async ({ content }, context) => {
    if (content === 'late') {
      void sleep(100).then(() => {
        void context.callAgent({ targetAgentType: 'nobody', content: 'x' })
        late.resolve()
      })
      return null
    }
    const other = context.callAgent({ targetAgentType: 'nobody', content: 'x' })
    await context.sleep(60_000)
    return other
  })
  const client = house.client()
  const ask = (content: string, taskTimeoutMs: number) =>
    client.ask({ targetAgentType: 'agent', sessionId: 's', content, taskTimeoutMs })
  await expect(ask('over', 100)).resolves.toMatchObject({ status: 'FAILED' })
  await expect(ask('late', 5_000)).resolves.toMatchObject({ status: 'COMPLETED' })
  await late.promise
  await sleep(50)
  expect(unheard).toEqual([])
})

const LATE: [string, (context: AgentContext, ran: () => void) => Promise<unknown>][] = [
  ['a call', (context) => context.callAgent({ targetAgentType: 'nobody', content: 'x' })],
  [
    'a call for no answer',
    (context) => context.callAgent({ targetAgentType: 'nobody', content: 'x', waitForReply: false }),
  ],
  ['a group', (context) => context.dispatchGroup([{ targetAgentType: 'nobody', content: 'x' }])],
  ['a question', (context) => context.askUser('Which one?')],
  ['a sleep', (context) => context.sleep(50_000)],
  ['a step', (context, ran) => context.step('step', ran)],
  ['the time', (context) => context.now()],
]

/** Keeps the answer of a task, without which the end is not recorded, when it is told to. */
class Slow extends MemoryHistory implements HistoryStore {
  readonly asked = deferred()
  readonly answered = deferred()

  override async append(...[sessionId, messages]: Parameters<MemoryHistory['append']>): Promise<void> {
    if (messages.some(({ role }) => role === 'assistant')) {
      this.asked.resolve()
      await this.answered.promise
    }
    super.append(sessionId, messages)
  }
}

test.each(LATE.flatMap(([name, call]) => [true, false].map((isFirst) => ({ name, call, isFirst }))))(
  '$name after the handler’s end is refused, also while that is being recorded (the first one: $isFirst)',
  async ({ call, isFirst }) => {
    const house = new House()
    const history = new Slow()
    const late = deferred<unknown>()
    let hasRun = false
    const ran = () => {
      hasRun = true
    }
    await house.work(
      async (_, context) => {
        if (!isFirst) await context.now()
        void history.asked.promise.then(() => call(context, ran).then(late.resolve, late.resolve))
        return 'done'
      },
      { history },
    )
    const ended = house.client().ask({ targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'x' })
    expect(await late.promise).toMatchObject({ code: 'GW_CLOSED' })
    history.answered.resolve()
    await expect(ended).resolves.toMatchObject({ status: 'COMPLETED' })
    expect(hasRun).toBe(false)
    expect((await house.events('s')).map(({ event_type: type }) => type)).toEqual(['done'])
    expect(await house.redis.zrange(house.keys.session('s'), '0', '-1')).toEqual(['', 'm'])
  },
)
