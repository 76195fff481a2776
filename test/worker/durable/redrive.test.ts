import { describe, expect, test } from 'vitest'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { Gate, House } from '../harness.ts'

const ref = { sessionId: 's', messageId: 'm' }
const send = { targetAgentType: 'agent', ...ref, content: 'old' }
const capabilities = ['agent', 'child']

/** Sends the dead letter of the task once more, with another content if one is given. */
async function redrive(house: House, client: ReturnType<House['client']>, content?: string): Promise<void> {
  await house.settled(...capabilities)
  const letter = await client.showDeadLetter({ messageId: 'm' })
  const data = content === undefined ? undefined : letter?.data.replace('"old"', JSON.stringify(content))
  expect(await client.redriveDeadLetters({ messageId: 'm', ...(data === undefined ? {} : { data }) })).toMatchObject({
    redriven: 1,
  })
}

describe('a redriven task', () => {
  test('calls anew: what its former life was answered counts no more', async () => {
    const house = new House()
    const client = house.client()
    let isMended = false
    await house.work(
      async ({ content }, context) => {
        if (context.agentType === 'child') return `echo of ${content}`
        const reply = await context.callAgent({ targetAgentType: 'child', content })
        if (!isMended) throw new Error('not mended yet')
        return reply.content
      },
      { capabilities },
    )
    expect((await client.ask(send)).status).toBe('FAILED')
    isMended = true
    await redrive(house, client, 'new')
    expect(await client.result({ ...ref, timeoutMs: 10_000 })).toMatchObject({
      ...{ status: 'COMPLETED', data: 'echo of new' },
    })
  })

  test('does not fail again by the tasks that failed its former life', async () => {
    const house = new House()
    const client = house.client()
    let isMended = false
    await house.work(
      async (_, context) => {
        if (context.agentType === 'child' && !isMended) throw new Error('not mended yet')
        if (context.agentType === 'child') return 'mended'
        return (await context.callAgent({ targetAgentType: 'child', content: 'x' })).content
      },
      { capabilities },
    )
    expect((await client.ask(send)).status).toBe('FAILED')
    isMended = true
    await redrive(house, client)
    expect(await client.result({ ...ref, timeoutMs: 10_000 })).toMatchObject({ status: 'COMPLETED', data: 'mended' })
  })

  test('is not given the late answer to a call of its former life', async () => {
    const house = new House()
    const client = house.client()
    const [old, fresh] = [new Gate(), new Gate()]
    let life = 1
    await house.work(
      async ({ content }, context) => {
        if (context.agentType === 'child') {
          await (content === 'life 1' ? old : fresh).pass()
          return `echo of ${content}`
        }
        const reply = context.callAgent({ targetAgentType: 'child', content: `life ${life}` })
        if (life === 1) {
          await old.reached(1)
          throw new Error('not mended yet')
        }
        return (await reply).content
      },
      { capabilities },
    )
    expect((await client.ask(send)).status).toBe('FAILED')
    life = 2
    await house.settled('agent')
    await client.redriveDeadLetters({ messageId: 'm' })
    await fresh.reached(1)
    old.open()
    await waitFor(async () => (await client.listTasks({ sessionId: 's', status: 'COMPLETED' })).length === 1)
    fresh.open()
    expect((await client.result({ ...ref, timeoutMs: 10_000 })).data).toBe('echo of life 2')
  })

  test('makes each call once, though its former life was started afresh; its own ids stay the same', async () => {
    const house = new House()
    const client = house.client()
    const seen: string[] = []
    const called: unknown[] = []
    let life = 1
    let run = 0
    await house.work(
      async ({ content }, context) => {
        if (context.agentType === 'child') return called.push(content)
        run += 1
        if (life === 1) {
          // Another time in the second run, and the same again in the third and the fourth.
          await context.sleep(run === 1 ? 100 : 101)
          throw new Error('not mended yet')
        }
        seen.push(context.uuid())
        await context.callAgent({ targetAgentType: 'child', content: `life ${life}` })
        await context.askUser('Well?')
        if (life === 2) throw new Error('not mended yet')
        return context.random()
      },
      { capabilities, suspendAfterMs: 20, leaseMs: 500, onNonDeterminism: 'restart' },
    )
    expect((await client.ask({ ...send, timeoutMs: 20_000 })).status).toBe('FAILED')
    for (life = 2; life <= 3; life += 1) {
      await redrive(house, client)
      await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_USER')
      const [question] = await client.pendingAsks('s')
      await client.reply({ ...ref, askId: question?.askId ?? '', content: 'yes' })
      const { status } = await client.result({ ...ref, timeoutMs: 10_000 })
      expect(status).toBe(life === 2 ? 'FAILED' : 'COMPLETED')
    }
    expect(called).toEqual(['life 2', 'life 3'])
    expect(seen).toHaveLength(4)
    expect(new Set(seen).size).toBe(1)
  })
})
