import { describe, expect, test } from 'vitest'
import { AskAgentCommand } from '../../src/protocol/command.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Gate, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'x' }
const full = { success: false, status: 'QUEUE_FULL', error: { code: 'GW_QUEUE_FULL' } }

describe('a queue at its limit', () => {
  test('refuses what is beyond it, writes nothing for it, and trims nothing', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 3 })
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) => client.sendMessage({ ...send, messageId: `m-${index}` })),
    )
    expect(answers.filter(({ success }) => success)).toHaveLength(3)
    expect(answers.slice(3)).toEqual(
      Array.from({ length: 7 }, (_, index) => ({
        ...{ success: false, status: 'QUEUE_FULL', messageId: `m-${index + 3}` },
        ...{ traceId: expect.any(String), timestamp: expect.any(Number) },
        error: { code: 'GW_QUEUE_FULL', message: "the normal queue of 'agent' is full, its limit is 3" },
      })),
    )
    expect(await house.waiting()).toBe(3)
    expect((await client.listTasks({ sessionId: 's' })).map(({ messageId }) => messageId)).toEqual([
      'm-0',
      'm-1',
      'm-2',
    ])
  })

  test('takes a message that was sent before for the one it holds', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 1 })
    for (let sent = 0; sent < 2; sent += 1) {
      expect(await client.sendMessage({ ...send, messageId: 'm' })).toMatchObject({ success: true, status: 'QUEUED' })
    }
    expect(await house.waiting()).toBe(1)
    expect(await client.sendMessage({ ...send, messageId: 'other' })).toMatchObject(full)
  })

  test('counts each lane and each capability for itself, and binds only those who set it', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 1 })
    await client.sendMessage(send)
    expect(await client.sendMessage(send)).toMatchObject(full)
    expect(await client.sendMessage({ ...send, priority: 'high' })).toMatchObject({ success: true })
    expect(await client.sendMessage({ ...send, targetAgentType: 'other' })).toMatchObject({ success: true })
    expect(await house.client().sendMessage(send)).toMatchObject({ success: true })
    expect(await client.sendMessage({ ...send, priority: 'high' })).toMatchObject({
      error: { message: "the high queue of 'agent' is full, its limit is 1" },
    })
  })

  test('holds for prepared commands, and an ask that is refused rejects', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 1 })
    await client.sendMessage(send)
    const header = { messageId: 'm', sessionId: 's', traceId: 't', targetAgentType: 'agent' }
    const command = new AskAgentCommand({ header, content: 'x' })
    expect(await client.sendCommand(command)).toMatchObject(full)
    expect(await client.sendCommand(command, { priority: 'low' })).toMatchObject({ success: true })
    await expect(client.ask(send)).rejects.toMatchObject({ code: 'GW_SEND_REFUSED', details: { status: 'QUEUE_FULL' } })
  })

  test('has room again when a task has its end, not when it is taken', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 2 })
    const gate = new Gate()
    await house.work(() => gate.pass())
    await client.sendMessage(send)
    await client.sendMessage(send)
    await gate.reached(2)
    expect(await client.sendMessage(send)).toMatchObject(full)
    gate.open()
    await house.settled()
    expect(await client.sendMessage(send)).toMatchObject({ success: true })
  })

  test('a message that was refused and is sent again runs once', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 1 })
    const gate = new Gate()
    const ran: unknown[] = []
    await house.work(async (command) => {
      ran.push(command.content)
      if (command.content === 'first') await gate.pass()
    })
    const first = await client.sendMessage({ ...send, content: 'first' })
    await gate.reached(1)
    const second = { ...send, messageId: 'm', content: 'second' }
    expect(await client.sendMessage(second)).toMatchObject(full)
    expect(await client.getTask({ sessionId: 's', messageId: 'm' })).toBeNull()
    gate.open()
    await client.result({ sessionId: 's', messageId: first.messageId })
    await house.settled()
    expect(await client.sendMessage(second)).toMatchObject({ success: true })
    await client.result({ sessionId: 's', messageId: 'm' })
    await house.settled()
    expect(await client.sendMessage(second)).toMatchObject({ success: true })
    await house.settled()
    expect(ran).toEqual(['first', 'second'])
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('never holds more than its limit, however many senders there are', async () => {
    const house = new House()
    const clients = Array.from({ length: 4 }, () =>
      house.client({ maxQueueLength: 5, whenFull: 'wait', queueTimeoutMs: 15_000 }),
    )
    let ran = 0
    let most = 0
    await house.work(async () => {
      most = Math.max(most, await house.waiting())
      ran += 1
    })
    const answers = await Promise.all(
      Array.from({ length: 120 }, (_, index) => clients[index % 4]?.sendMessage({ ...send, messageId: `m-${index}` })),
    )
    expect(answers.every((answer) => answer?.success)).toBe(true)
    await house.settled()
    expect(ran).toBe(120)
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThanOrEqual(5)
  })
})

describe('waiting for room', () => {
  test('is answered once there is some', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 1, whenFull: 'wait' })
    await client.sendMessage(send)
    let answered = false
    const waiting = client.sendMessage({ ...send, messageId: 'm' }).then((answer) => {
      answered = true
      return answer
    })
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect([answered, await house.waiting()]).toEqual([false, 1])
    await house.work(() => 'fine')
    expect(await waiting).toMatchObject({ success: true, messageId: 'm' })
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ data: 'fine' })
  })

  test('ends as QUEUE_FULL when the time is up', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 1, whenFull: 'wait', queueTimeoutMs: 200 })
    await client.sendMessage(send)
    const before = performance.now()
    expect(await client.sendMessage(send)).toMatchObject(full)
    expect(performance.now() - before).toBeGreaterThanOrEqual(190)
    expect(await house.waiting()).toBe(1)
  })

  test('ends with an ask that is given up, and nothing is sent later', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 1, whenFull: 'wait' })
    await client.sendMessage(send)
    await expect(client.ask({ ...send, timeoutMs: 100 })).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
    const reason = new Error('enough')
    const controller = new AbortController()
    const asked = client.ask({ ...send, signal: controller.signal })
    controller.abort(reason)
    await expect(asked).rejects.toBe(reason)
    const ran: unknown[] = []
    await house.work((command) => ran.push(command.content))
    await waitFor(() => ran.length > 0)
    await house.settled()
    expect(ran).toHaveLength(1)
  })

  test('ends with the client', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 1, whenFull: 'wait' })
    await client.sendMessage(send)
    const waiting = expect(client.sendMessage(send)).rejects.toMatchObject({ code: 'GW_CLOSED' })
    await client.close()
    await waiting
  })
})

describe('a task that is held back', () => {
  test('takes its place later, whatever the queue holds', async () => {
    const house = new House()
    const client = house.client({ maxQueueLength: 1 })
    await client.sendMessage(send)
    expect(await client.sendMessage({ ...send, messageId: 'm', delayMs: 50 })).toMatchObject({ success: true })
    await house.work(() => 'fine')
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ data: 'fine' })
  })
})

test.each([{ maxQueueLength: 0 }, { maxQueueLength: 1.5 }, { whenFull: 'drop' }, { queueTimeoutMs: 0 }])(
  'option %j is refused by name',
  (option) => {
    expect(() => new House().client(option as never)).toThrow(
      expect.objectContaining({
        code: 'GW_INVALID_ARGUMENT',
        message: expect.stringContaining(Object.keys(option)[0] as string),
      }),
    )
  },
)
