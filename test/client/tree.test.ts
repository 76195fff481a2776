import { describe, expect, test } from 'vitest'
import type { TaskTree } from '../../src/store/task-trees.ts'
import { Gate, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's' }

/** A tree as nested ids: `[id, …children]`. */
type Shape = readonly [string, ...Shape[]]
const shape = ({ task, children }: TaskTree): Shape => [task.messageId, ...children.map(shape)]

/** Sends tasks whose parents are named: `child < parent`. */
async function family(house: House, ...ties: string[]) {
  const client = house.client()
  for (const tie of ties) {
    const [messageId, parentMessageId] = tie.split(' < ')
    const sent = await client.sendMessage({ ...send, content: 'x', messageId, parentMessageId })
    expect(sent.success).toBe(true)
  }
  return client
}

describe('getTree', () => {
  test('has a task and all under it, in the order in which they were sent, and nobody else', async () => {
    const house = new House()
    const ties = ['root', 'a < root', 'b < root', 'other', 'a1 < a', 'stray < other', 'c < root', 'a2 < a', 'a11 < a1']
    const client = await family(house, ...ties)
    const whole = await client.getTree('s', 'root')
    expect(whole && shape(whole)).toEqual(['root', ['a', ['a1', ['a11']], ['a2']], ['b'], ['c']])
    const part = await client.getTree('s', 'a')
    expect(part && shape(part)).toEqual(['a', ['a1', ['a11']], ['a2']])
    expect(part?.task).toEqual(await client.getTask({ sessionId: 's', messageId: 'a' }))
  })

  test('has them in that order whichever of them have ended', async () => {
    const house = new House()
    await house.work(() => 'fine', { capabilities: ['quick'] })
    const client = await family(house, 'root', 'a < root')
    await client.ask({ ...send, targetAgentType: 'quick', messageId: 'b', parentMessageId: 'root', content: 'x' })
    await family(house, 'c < root')
    const root = await client.getTree('s', 'root')
    expect(root && shape(root)).toEqual(['root', ['a'], ['b'], ['c']])
  })

  test('tells states, times and errors, without results', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(
      async (command) => {
        if (command.content === 'wait') await gate.pass()
        if (command.content === 'fail') throw new Error('boom')
        return 'x'.repeat(1_000)
      },
      { retry: { maxAttempts: 1 } },
    )
    const client = house.client()
    await client.ask({ ...send, messageId: 'root', content: 'fine' })
    await client.ask({ ...send, messageId: 'bad', parentMessageId: 'root', content: 'fail' })
    await client.sendMessage({ ...send, messageId: 'slow', parentMessageId: 'root', content: 'wait' })
    await gate.reached(1)
    const queued = await client.sendMessage({
      ...send,
      targetAgentType: 'nobody',
      messageId: 'q',
      parentMessageId: 'bad',
      content: 'x',
    })
    expect(queued.success).toBe(true)
    const root = await client.getTree('s', 'root')
    expect(root).toMatchObject({
      ...{ task: { status: 'COMPLETED', agentType: 'agent', attempt: 1, finishedAt: expect.any(Number) }, error: null },
      children: [
        {
          task: { status: 'FAILED', parentMessageId: 'root' },
          error: { code: 'GW_TASK_FAILED', message: 'boom' },
          children: [{ task: { status: 'QUEUED', agentType: 'nobody', startedAt: null }, error: null, children: [] }],
        },
        { task: { status: 'RUNNING', startedAt: expect.any(Number), finishedAt: null }, error: null, children: [] },
      ],
    })
    expect(JSON.stringify(root)).not.toContain('xxx')
    gate.open()
  })

  test('of a task that is not there is null; a parent that is gone hides only what is under it', async () => {
    const house = new House()
    const client = await family(house, 'root', 'a < root', 'b < root', 'a1 < a')
    expect(await client.getTree('s', 'nobody')).toBeNull()
    expect(await client.getTree('nowhere', 'root')).toBeNull()
    await house.redis.del(house.keys.task('s', 'a'))
    const root = await client.getTree('s', 'root')
    expect(root && shape(root)).toEqual(['root', ['b']])
    expect(await client.getTree('s', 'a')).toBeNull()
  })

  test('ends where parents form a circle', async () => {
    const house = new House()
    const client = await family(house, 'a < c', 'b < a', 'c < b', 'self < self')
    const circle = await client.getTree('s', 'b')
    expect(circle && shape(circle)).toEqual(['b', ['c', ['a']]])
    const own = await client.getTree('s', 'self')
    expect(own && shape(own)).toEqual(['self'])
  })

  test('takes many tasks in few calls, also a chain as long as that', { timeout: 60_000 }, async () => {
    const house = new House()
    const client = house.client()
    const ids = Array.from({ length: 1_200 }, (_, index) => `m${index}`)
    for (const [index, messageId] of ids.entries()) {
      const record = house.keys.task('s', messageId)
      const parent = index === 0 ? '' : index % 2 === 0 ? `m${index - 2}` : 'm0'
      house.redis.hset(record, { fence: 'Q:0::', agent_type: 'agent', parent_message_id: parent, created_at: index })
      house.redis.zadd(house.keys.session('s'), index, messageId)
    }
    await house.redis.ping()
    const root = await client.getTree('s', 'm0')
    expect(root?.children).toHaveLength(601)
    let depth = 0
    for (let node: TaskTree | undefined = root ?? undefined; node !== undefined; depth += 1) {
      node = node.children.find(({ task }) => Number(task.messageId.slice(1)) % 2 === 0)
    }
    expect(depth).toBe(600)
  })

  test('refuses bad ids', async () => {
    const client = new House().client()
    await expect(client.getTree('a b', 'm')).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
    await expect(client.getTree('s', '')).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
  })
})
