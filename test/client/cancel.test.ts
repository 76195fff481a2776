import { describe, expect, test, vi } from 'vitest'
import type { GatewayClient } from '../../src/client/client.ts'
import { TaskEnder } from '../../src/dispatch/task-ender.ts'
import { CancelTaskCommand, GatewayCommand } from '../../src/protocol/command.ts'
import { cancelledDone } from '../../src/protocol/endings.ts'
import { Agenda } from '../../src/store/agenda.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { LeftEntries } from '../../src/store/left-entries.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { untilAborted } from '../../src/util/until-aborted.ts'
import { openStore } from '../redis/harness.ts'
import { agendaOf, Gate, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }
const ref = (messageId: string) => ({ sessionId: 's', messageId })
const statusOf = async (client: GatewayClient, messageId: string) => (await client.getTask(ref(messageId)))?.status

describe('sendCommand with a CancelTaskCommand', () => {
  const cancel = (targetMessageId: string, more = {}) =>
    new CancelTaskCommand({ header: { sessionId: 's', messageId: 'c', traceId: 't' }, targetMessageId, ...more })

  test('cancels what waits and what runs, like cancelTask', async () => {
    const house = new House()
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'waits' })
    expect(await client.sendCommand(cancel('waits', { reason: 'user left' }))).toEqual({
      ...{ success: true, status: 'CANCELLED', messageId: 'c', traceId: 't', timestamp: expect.any(Number) },
    })
    expect(await client.result(ref('waits'))).toMatchObject({
      error: { message: expect.stringContaining('user left') },
    })
    const gate = new Gate()
    await house.work((_command, { signal }) => untilAborted(gate.pass(), signal))
    await client.sendMessage({ ...send, messageId: 'runs' })
    await gate.reached(1)
    expect(await client.sendCommand(cancel('runs'))).toMatchObject({ success: true, status: 'CANCEL_REQUESTED' })
    expect(await client.result(ref('runs'))).toMatchObject({ status: 'CANCELLED' })
    await house.settled()
  })

  test.each([
    ['what is not there', cancel('nix'), 'targetMessageId is invalid: there is no such task (got "nix")'],
    ['what has ended', cancel('done'), 'targetMessageId is invalid: the task had its end before (got "done")'],
    ['nonsense', cancel(''), 'targetMessageId is invalid: 1 to 256 printable characters'],
    ['a bad mode', cancel('done', { cancelMode: 'hard' }), 'mode is invalid'],
  ])('is refused for %s, and nothing is written', async (_what, command, message) => {
    const house = new House()
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'done' })
    await client.cancelTask(ref('done'))
    expect(await client.sendCommand(command)).toMatchObject({
      ...{ success: false, status: 'REJECTED', messageId: 'c' },
      error: { code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining(message) },
    })
    expect(await client.listTasks({ sessionId: 's' })).toHaveLength(1)
  })

  test('and any other command of a kind that is not known here is refused as well', async () => {
    class Jump extends GatewayCommand {
      static readonly actionType = 'JUMP'
      override toBody() {
        return {}
      }
    }
    const header = { messageId: 'j', sessionId: 's', traceId: 't', targetAgentType: 'agent' }
    expect(await new House().client().sendCommand(new Jump(header))).toMatchObject({
      ...{ status: 'REJECTED', error: { message: 'the command is invalid: action_type "JUMP" is not known' } },
    })
  })
})

describe('cancelTask', () => {
  test.each([
    [{ sessionId: 'a b', messageId: 'm' }, /^sessionId is invalid/],
    [{ sessionId: 's', messageId: '' }, /^messageId is invalid/],
    [{ ...ref('m'), mode: 'hard' }, /^mode .*invalid/],
    [{ ...ref('m'), reason: 7 }, /^reason .*invalid/],
    [{ ...ref('m'), reason: 'x'.repeat(5_000) }, /^reason .*invalid/],
    [{ ...ref('m'), force: true }, /force/],
  ])('refuses %j', async (options, message) => {
    const client = new House().client()
    await expect(client.cancelTask(options as never)).rejects.toMatchObject({
      ...{ code: 'GW_INVALID_ARGUMENT', message: expect.stringMatching(message) },
    })
  })

  test('says so when there is no such task, and makes none', async () => {
    const house = new House()
    const client = house.client()
    expect(await client.cancelTask(ref('m'))).toEqual({ success: false, status: 'NOT_FOUND' })
    expect(await client.getTask(ref('m'))).toBeNull()
    expect(await house.redis.exists(house.keys.data('s'))).toBe(0)
  })

  test.each(['COMPLETED', 'FAILED'])('leaves a task alone that is %s', async (status) => {
    const house = new House()
    await house.work(() => {
      if (status === 'FAILED') throw new Error('boom')
    })
    const client = house.client()
    expect(await client.ask({ ...send, messageId: 'm' })).toMatchObject({ status })
    const before = await house.redis.hgetall(house.keys.task('s', 'm'))
    for (const mode of ['graceful', 'force'] as const) {
      expect(await client.cancelTask({ ...ref('m'), mode })).toEqual({ success: false, status: 'ALREADY_FINISHED' })
    }
    expect(await house.redis.hgetall(house.keys.task('s', 'm'))).toEqual(before)
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('a second time finds it finished; many at once make one end', async () => {
    const house = new House()
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm' })
    const clients = Array.from({ length: 8 }, () => house.client())
    const answers = await Promise.all(clients.map((other) => other.cancelTask(ref('m'))))
    expect(answers.some(({ status }) => status === 'CANCELLED')).toBe(true)
    expect(await client.cancelTask(ref('m'))).toEqual({ success: false, status: 'ALREADY_FINISHED' })
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('tells the reader who waits, and the reason', async () => {
    const house = new House()
    const client = house.client()
    const answer = client.ask({ ...send, messageId: 'm' })
    await waitFor(async () => (await statusOf(client, 'm')) === 'QUEUED')
    await house.client().cancelTask({ ...ref('m'), reason: 'because' })
    expect(await answer).toMatchObject({
      ...{ status: 'CANCELLED', attempts: 0 },
      error: { code: 'GW_CANCELLED', message: 'the task was cancelled: because' },
    })
  })

  test('of a closed client is refused', async () => {
    const client = new House().client()
    await client.close()
    await expect(client.cancelTask(ref('m'))).rejects.toMatchObject({ code: 'GW_CLOSED' })
    await expect(client.cancelSession('s')).rejects.toMatchObject({ code: 'GW_CLOSED' })
  })
})

test('a session that its workers keep longer than others loses nothing by a cancel', { timeout: 120_000 }, async () => {
  const house = new House()
  const client = house.client()
  const key = house.keys.data('s')
  const said = 210_000
  for (let from = 0; from < said; from += 10_000) {
    const adds = house.redis.pipeline()
    for (let i = 0; i < 10_000; i += 1) adds.xadd(key, '*', 'data', '{}')
    await adds.exec()
  }
  await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'x' })
  expect(await client.cancelTask({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'CANCELLED' })
  expect(await house.redis.xlen(key)).toBe(said + 1)
})

describe('those that were sent on its behalf', () => {
  const child = (messageId: string, parentMessageId: string) => ({ ...send, messageId, parentMessageId })

  test('are cancelled with it, and theirs, whether their parents have ended or not; others are not', async () => {
    const house = new House()
    await house.work(() => 'done', { capabilities: ['quick'] })
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm' })
    await client.ask({ ...child('ended', 'm'), targetAgentType: 'quick' })
    for (const [id, parent] of [
      ...[
        ['a', 'm'],
        ['b', 'm'],
        ['a-1', 'a'],
        ['a-1-x', 'a-1'],
        ['of-ended', 'ended'],
        ['alone', ''],
        ['of-other', 'x'],
      ],
    ] as [string, string][]) {
      await client.sendMessage(parent === '' ? { ...send, messageId: id } : child(id, parent))
    }
    await client.sendMessage({ ...child('late', 'b'), delayMs: 600_000 })
    expect(await client.cancelTask({ ...ref('m'), reason: 'tree' })).toMatchObject({ status: 'CANCELLED' })
    for (const id of ['m', 'a', 'b', 'a-1', 'a-1-x', 'of-ended', 'late']) {
      expect([id, await statusOf(client, id)]).toEqual([id, 'CANCELLED'])
      expect(await house.dones('s', id)).toHaveLength(1)
    }
    expect([
      await statusOf(client, 'ended'),
      await statusOf(client, 'alone'),
      await statusOf(client, 'of-other'),
    ]).toEqual([...['COMPLETED', 'QUEUED', 'QUEUED']])
    expect(await agendaOf(house)).toEqual([])
  })

  test('are ended at once when they are sent later, delayed ones as well, and leave nothing on the agenda', async () => {
    const house = new House()
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm' })
    await client.cancelTask(ref('m'))
    await client.sendMessage({ ...child('a', 'm'), delayMs: 600_000, expiresInMs: 700_000 })
    expect([await statusOf(client, 'a'), await agendaOf(house)]).toEqual(['CANCELLED', []])
    expect(await house.redis.pttl(house.keys.task('s', 'a'))).toBeGreaterThan(0)
    expect(await house.dones('s', 'a')).toHaveLength(1)
  })

  test('are ended when they are due, if their sender could not end them', async () => {
    const house = new House()
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm' })
    await client.cancelTask(ref('m'))
    vi.spyOn(TaskEnder.prototype, 'end').mockRejectedValueOnce(new Error('the connection was cut'))
    await client.sendMessage({ ...child('a', 'm'), delayMs: 100 })
    expect(await statusOf(client, 'a')).toBe('DELAYED')
    let runs = 0
    await house.work(() => {
      runs += 1
    })
    expect(await client.result(ref('a'))).toMatchObject({ status: 'CANCELLED' })
    await house.settled()
    expect([runs, await agendaOf(house), (await house.dones('s', 'a')).length]).toEqual([0, [], 1])
    expect(await house.redis.pttl(house.keys.task('s', 'a'))).toBeGreaterThan(0)
  })

  test.each(['COMPLETED', 'FAILED', 'EXPIRED'])('go on when it is %s already: nothing is changed', async (status) => {
    const house = new House()
    await house.work(
      () => {
        if (status === 'FAILED') throw new Error('boom')
      },
      { capabilities: ['quick'] },
    )
    const client = house.client()
    const times = status === 'EXPIRED' ? { expiresInMs: 1, delayMs: 600_000 } : {}
    await client.sendMessage({ ...send, ...times, messageId: 'm', targetAgentType: 'quick' })
    expect(await client.result(ref('m'))).toMatchObject({ status })
    await client.sendMessage(child('a', 'm'))
    await client.sendMessage(child('a-1', 'a'))
    for (const mode of ['graceful', 'force'] as const) {
      expect(await client.cancelTask({ ...ref('m'), mode })).toEqual({ success: false, status: 'ALREADY_FINISHED' })
    }
    expect([await statusOf(client, 'a'), await statusOf(client, 'a-1')]).toEqual(['QUEUED', 'QUEUED'])
    expect(await house.dones('s', 'a')).toEqual([])
  })

  test('are cancelled by a repeated cancel, if the first was broken off before it came to them', async () => {
    const house = new House()
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm' })
    await client.sendMessage(child('a', 'm'))
    await client.sendMessage(child('a-1', 'a'))
    const { redis } = openStore()
    const records = new TaskRecords(redis, house.keys)
    const ender = new TaskEnder({
      records,
      writer: new DataWriter(redis, house.keys, DEFAULT_RETENTION),
      agenda: new Agenda(redis, house.keys),
      leftEntries: new LeftEntries(redis, house.keys, records),
    })
    expect((await ender.end(ref('m'), cancelledDone('tree'))).status).toBe('ended')
    expect(await statusOf(client, 'a')).toBe('QUEUED')
    expect(await client.cancelTask(ref('m'))).toEqual({ success: false, status: 'ALREADY_FINISHED' })
    expect([await statusOf(client, 'a'), await statusOf(client, 'a-1')]).toEqual(['CANCELLED', 'CANCELLED'])
  })

  test('are found in whatever order the index has them, also behind one that has ended', async () => {
    const house = new House()
    const { redis } = openStore()
    const records = new TaskRecords(redis, house.keys)
    const writer = new DataWriter(redis, house.keys, DEFAULT_RETENTION)
    const client = house.client()
    // Younger tasks with names that come first: as they are made in one call, the index has them by name.
    const task = { sessionId: 's', agentType: 'agent', traceId: 't', userCode: '' }
    await records.admit([
      { ...task, messageId: 'c', parentMessageId: '' },
      { ...task, messageId: 'b', parentMessageId: 'c' },
      { ...task, messageId: 'a', parentMessageId: 'b' },
    ])
    await records.begin('w', [{ ...ref('b'), entryId: '1-0', turn: '' }])
    const end = { fence: 'C:1:1-0:w', fields: {} }
    await writer.commit(() => ({ ...ref('b'), fence: 'R:1:1-0:w', first: 1, events: ['{}'], end }))
    expect(await client.cancelTask(ref('c'))).toMatchObject({ status: 'CANCELLED' })
    expect([await statusOf(client, 'b'), await statusOf(client, 'a')]).toEqual(['COMPLETED', 'CANCELLED'])
  })

  test('and come only afterwards never start, nor do theirs', async () => {
    const house = new House()
    const gate = new Gate()
    const ran: string[] = []
    await house.work(
      (_command, { messageId }) => {
        ran.push(messageId)
        return gate.pass()
      },
      { maxConcurrency: 20 },
    )
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'm' })
    await gate.reached(1)
    expect(await client.cancelTask({ ...ref('m'), reason: 'tree' })).toMatchObject({ status: 'CANCEL_REQUESTED' })
    await client.sendMessage(child('a', 'm'))
    await client.sendMessage(child('a-1', 'a'))
    await client.sendMessage({ ...child('a-2', 'a'), delayMs: 20 })
    for (const id of ['a', 'a-1', 'a-2']) {
      expect(await client.result(ref(id))).toMatchObject({
        ...{ status: 'CANCELLED', error: { message: 'the task was cancelled: tree' } },
      })
    }
    gate.open()
    expect(await client.result(ref('m'))).toMatchObject({ status: 'CANCELLED' })
    await client.sendMessage(child('after', 'm'))
    expect(await client.result(ref('after'))).toMatchObject({ status: 'CANCELLED' })
    await house.settled()
    expect(ran).toEqual(['m'])
  })

  test('and come only afterwards have their end at once, also where nobody offers their capability', async () => {
    const house = new House()
    const client = house.client()
    const toNobody = (messageId: string, above: string) => ({ ...child(messageId, above), targetAgentType: 'nobody' })
    await client.sendMessage({ ...toNobody('m', ''), parentMessageId: undefined })
    await client.cancelTask({ ...ref('m'), reason: 'tree' })
    const later = [toNobody('a', 'm'), toNobody('a-1', 'a'), { ...toNobody('a-2', 'a'), delayMs: 60_000 }]
    for (const message of later) {
      expect(await client.sendMessage(message)).toMatchObject({ success: true, status: 'QUEUED' })
      expect(await client.getTask(ref(message.messageId))).toMatchObject({ status: 'CANCELLED', attempt: 0 })
      expect(await house.dones('s', message.messageId)).toHaveLength(1)
    }
    expect(await agendaOf(house)).toEqual([])
    // What lies on the stream is seen off by whoever takes it.
    await house.work(() => 'ran', { capabilities: ['nobody'] })
    await house.settled('nobody')
    expect((await client.getTask(ref('a-1')))?.status).toBe('CANCELLED')
  })
})

describe('cancelSession', () => {
  test('ends whatever has no end yet, and says what became of each', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work((command) => (command.content === 'quick' ? 'done' : gate.pass()), {
      capabilities: ['busy'],
    })
    const client = house.client()
    await client.ask({ ...send, targetAgentType: 'busy', messageId: 'finished', content: 'quick' })
    await client.sendMessage({ ...send, targetAgentType: 'busy', messageId: 'running' })
    await gate.reached(1)
    await client.sendMessage({ ...send, messageId: 'queued' })
    await client.sendMessage({ ...send, messageId: 'delayed', delayMs: 600_000 })
    await client.sendMessage({ ...send, messageId: 'elsewhere', sessionId: 's-2' })
    const { success, tasks } = await client.cancelSession('s', { reason: 'logout' })
    expect(success).toBe(true)
    expect([...tasks].sort((a, b) => a.messageId.localeCompare(b.messageId))).toEqual([
      { messageId: 'delayed', success: true, status: 'CANCELLED' },
      { messageId: 'queued', success: true, status: 'CANCELLED' },
      { messageId: 'running', success: true, status: 'CANCEL_REQUESTED' },
    ])
    gate.open()
    expect(await client.result(ref('running'))).toMatchObject({ status: 'CANCELLED' })
    expect(await statusOf(client, 'finished')).toBe('COMPLETED')
    expect((await client.getTask({ sessionId: 's-2', messageId: 'elsewhere' }))?.status).toBe('QUEUED')
    expect(await client.cancelSession('s')).toEqual({ success: true, tasks: [] })
    expect(await client.cancelSession('nobody')).toEqual({ success: true, tasks: [] })
  })

  test('by force, of many', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(() => gate.pass(), { maxConcurrency: 30 })
    const client = house.client()
    await Promise.all(Array.from({ length: 600 }, (_, i) => client.sendMessage({ ...send, messageId: `m-${i}` })))
    await gate.reached(30)
    const { tasks } = await client.cancelSession('s', { mode: 'force' })
    expect(new Set(tasks.map(({ messageId }) => messageId)).size).toBe(600)
    expect(tasks.every(({ status }) => status === 'CANCELLED')).toBe(true)
    await house.settled()
    const dones = (await house.events('s')).filter(({ event_type }) => event_type === 'done')
    expect(new Set(dones.map(({ message_id }) => message_id)).size).toBe(600)
    expect(dones).toHaveLength(600)
    gate.open()
  })
})
