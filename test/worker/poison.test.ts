import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import {
  AskAgentCommand,
  CancelTaskCommand,
  GatewayCommand,
  ResumeCommand,
  registerCommand,
} from '../../src/protocol/command.ts'
import type { MessageHeader } from '../../src/protocol/header.ts'
import { waitFor } from '../../src/testing/wait-for.ts'

import { agendaOf, envelope, House } from './harness.ts'

/** The fields of the dead letters of the capability, as bytes. */
async function letters(house: House, capability = 'agent'): Promise<Map<string, Buffer>[]> {
  const entries = await house.redis.xrangeBuffer(house.keys.dead(capability), '-', '+')
  return entries.map(([, fields]) => {
    const map = new Map<string, Buffer>()
    for (let i = 0; i < fields.length; i += 2) map.set(String(fields[i]), fields[i + 1] as Buffer)
    return map
  })
}

async function oneLetter(house: House): Promise<Map<string, Buffer>> {
  await waitFor(async () => (await house.redis.xlen(house.keys.dead('agent'))) > 0, { message: 'a dead letter' })
  const all = await letters(house)
  expect(all).toHaveLength(1)
  return all[0] as Map<string, Buffer>
}

describe('an entry that says nothing of a task', () => {
  test.each([
    ['bad-json', 'hello {'],
    ['bad-json', ''],
    ['no-envelope', '[1]'],
    ['bad-header', '{"action_type":"ASK_AGENT","body":{}}'],
    [
      'bad-header',
      '{"action_type":"ASK_AGENT","header":{"message_id":"m","session_id":"s s","trace_id":"t"},"body":{}}',
    ],
    ['too-large', envelope('m', 's', { content: 'x'.repeat(3_000) })],
  ])('%s goes to the dead letters as it was, and blocks nobody', async (reason, data) => {
    const house = new House()
    await house.work(() => 'fine', { workerId: 'w', maxConcurrency: 1, maxPayloadBytes: 2_000 })
    const entryId = await house.add({ data })
    const client = house.client()
    expect(await client.ask({ targetAgentType: 'agent', sessionId: 's', content: 'x' })).toMatchObject({ data: 'fine' })
    const letter = await oneLetter(house)
    expect(String(letter.get('reason'))).toBe(reason)
    expect(String(letter.get('data'))).toBe(data)
    expect(String(letter.get('entry_id'))).toBe(entryId)
    expect(String(letter.get('worker_id'))).toBe('w')
    await house.settled()
    expect(await client.listDeadLetters('agent')).toEqual([
      {
        ...{ id: expect.stringMatching(/^\d+-\d+$/), capability: 'agent', reason, data, entryId, workerId: 'w' },
        ...{ detail: expect.stringMatching(/./), sessionId: '', messageId: '' },
        ...{ priority: 'normal', epoch: 0, history: [] },
      },
    ])
    expect(house.logger.lines.filter(({ level }) => level === 'error')).toHaveLength(1)
  })

  test('is kept byte for byte, also where its bytes are no text', async () => {
    const house = new House()
    await house.work(() => 'fine')
    const bytes = Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0xc3, 0x28, 0x80, 0x7d])
    await house.add({ data: bytes })
    expect((await oneLetter(house)).get('data')).toEqual(bytes)
  })

  test('keeps what it had where it had no such field', async () => {
    const house = new House()
    await house.work(() => 'fine')
    await house.add({ payload: 'precious words', kind: 'foreign' })
    const letter = await oneLetter(house)
    expect(String(letter.get('reason'))).toBe('no-data-field')
    expect([...letter.values()].map(String).join(' ')).toContain('precious words')
  })
})

describe('an entry that says whose task it is', () => {
  test.each([
    ['unknown-action', envelope('m', 's', {}, 'DANCE'), /DANCE/],
    ['bad-header', envelope('m', 's').replace('"trace_id"', '"metadata":7,"trace_id"'), /header\.metadata/],
    ['bad-body', envelope('m', 's', { content: '' }), /content/],
    ['bad-body', envelope('m', 's', { content: 'x', wait_for_reply: 7 }), /wait_for_reply/],
  ])('%s goes to the dead letters, and the task ends FAILED with one done event', async (reason, data, why) => {
    const house = new House()
    let handled = 0
    await house.work(() => {
      handled += 1
    })
    const client = house.client()
    const watching = client.subscribe('s', { messageId: 'm', after: '0' })
    await watching.opened()
    await house.add({ data })
    const events = []
    for await (const event of watching) events.push(event)
    const fault = { code: 'GW_POISON', message: expect.stringMatching(why) }
    expect(events).toEqual([
      expect.objectContaining({ type: 'error', ...fault, retrying: false }),
      expect.objectContaining({
        ...{ type: 'done', status: 'FAILED', messageId: 'm' },
        error: fault,
      }),
    ])
    const letter = await oneLetter(house)
    expect([...letter].map(([name, value]) => [name, String(value)])).toEqual(
      expect.arrayContaining([
        ['reason', reason],
        ['data', data],
        ['session_id', 's'],
        ['message_id', 'm'],
      ]),
    )
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'FAILED' })
    await house.settled()
    expect(handled).toBe(0)
  })

  test('what is larger than this worker takes, sent at once or for later, has its end all the same', async () => {
    const house = new House()
    await house.work(() => 'fine', { maxPayloadBytes: 2_000 })
    const client = house.client({ maxPayloadBytes: 10_000 })
    const large = { targetAgentType: 'agent', sessionId: 's', content: 'x'.repeat(3_000), timeoutMs: 5_000 }
    for (const when of [{ messageId: 'm-1' }, { messageId: 'm-2', delayMs: 50 }]) {
      const error = { code: 'GW_POISON', message: expect.stringContaining('the limit is 2000') }
      expect(await client.ask({ ...large, ...when })).toMatchObject({ status: 'FAILED', error })
    }
    await house.settled()
    const named = (await client.listDeadLetters()).map(({ reason, messageId }) => `${reason} ${messageId}`)
    expect(named).toEqual(['too-large m-2', 'too-large m-1'])
  })

  test('a cancel command on a stream for tasks is no task, and leaves nobody waiting', async () => {
    const house = new House()
    await house.work(() => 'fine')
    const client = house.client()
    const header = { messageId: 'm-cancel', sessionId: 's', traceId: 't', targetAgentType: 'agent' }
    const sent = await client.sendCommand(new CancelTaskCommand({ header, targetMessageId: 'm' }))
    // Either it is not accepted, or it has an end.
    if (!sent.success) return expect(sent.status).toBe('REJECTED')
    const result = await client.result({ sessionId: 's', messageId: 'm-cancel', timeoutMs: 3_000 })
    expect(result.status).toBe('FAILED')
    return house.settled()
  })

  test('a RESUME of a task that waits is not passed over in silence, and the task waits on', async () => {
    const house = new House()
    await house.work((_command, context) => context.askUser('which?'))
    const client = house.client()
    await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' })
    const [ask] = await waitFor(async () => {
      const asks = await client.pendingAsks('s')
      return asks.length > 0 && asks
    })
    const header = { messageId: 'm', sessionId: 's', traceId: 't', targetAgentType: 'agent' }
    await client.sendCommand(new ResumeCommand({ header, content: 'this' }))
    const letter = await oneLetter(house)
    expect(String(letter.get('reason'))).toBe('unknown-action')
    expect(String(letter.get('detail'))).toContain('client.reply')
    const answer = { sessionId: 's', messageId: 'm', askId: ask?.askId ?? '', content: 'that' }
    expect(await client.reply(answer)).toMatchObject({ success: true })
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'COMPLETED' })
    return house.settled()
  })
})

test('poison of every kind among many good tasks hurts none of them', async () => {
  const house = new House()
  await house.work((command) => command.content, { maxConcurrency: 5 })
  const client = house.client()
  const kinds = [
    'x',
    '',
    'null',
    '{}',
    envelope('bad id', 's'),
    envelope('m-p', 's', {}, 'DANCE'),
    envelope('m-q', 's', null),
  ]
  const results: Promise<{ data: unknown }>[] = []
  for (let i = 0; i < 210; i += 1) {
    if (i % 3 === 0) await house.add({ data: kinds[(i / 3) % kinds.length] as string })
    else results.push(client.ask({ targetAgentType: 'agent', sessionId: `s-${i % 5}`, content: `${i}` }))
  }
  const answers = (await Promise.all(results)).map(({ data }) => Number(data))
  expect(answers).toEqual(Array.from({ length: 210 }, (_, i) => i).filter((i) => i % 3 !== 0))
  await house.settled()
  // Five kinds name no task, so each entry has its letter; the other two are one task each, sent ten times.
  expect(await house.redis.xlen(house.keys.dead('agent'))).toBe(52)
  expect(await house.dones('s', 'm-p')).toHaveLength(1)
  expect(await house.dones('s', 'm-q')).toHaveLength(1)
})

test('a neighbour whose record cannot be made does not take others with it', async () => {
  const house = new House()
  const client = house.client()
  // A foreign task whose session index is a key of another kind: the script that admits it fails.
  await house.redis.set(house.keys.session('broken'), 'not a sorted set')
  const sent = await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId: 'good', content: 'x' })
  expect(sent.success).toBe(true)
  await house.add({ data: envelope('bad', 'broken') })
  const ran: string[] = []
  await house.work((_command, context) => ran.push(context.messageId))
  expect(await client.result({ sessionId: 's', messageId: 'good', timeoutMs: 4_000 })).toMatchObject({
    status: 'COMPLETED',
  })
  expect(ran.filter((messageId) => messageId === 'good')).toHaveLength(1)
})

describe('an entry of another program', () => {
  test('works like a send, with the three required keys only', async () => {
    const house = new House()
    const headers: MessageHeader[] = []
    await house.work((command, context) => {
      headers.push(command.header)
      return `${context.messageId} ${command.content}`
    })
    const client = house.client()
    const watching = client.subscribe('s', { messageId: 'raw-1', after: '0' })
    await watching.opened()
    await house.add({ data: envelope('raw-1', 's', { content: 'hello' }) })
    const events = []
    for await (const event of watching) events.push(event)
    expect(events).toEqual([expect.objectContaining({ type: 'done', status: 'COMPLETED', result: 'raw-1 hello' })])
    expect(headers[0]).toMatchObject({ messageId: 'raw-1', traceId: 'trace', userCode: '', metadata: {} })
    expect(await client.getTask({ sessionId: 's', messageId: 'raw-1' })).toMatchObject({
      ...{ status: 'COMPLETED', agentType: 'agent', traceId: 'trace', attempt: 1 },
    })
    expect((await client.listTasks({ sessionId: 's' })).map(({ messageId }) => messageId)).toEqual(['raw-1'])
    await house.settled()
  })

  test('may have further fields, before and after the one that counts', async () => {
    const house = new House()
    await house.work((command) => command.content)
    await house.add({ event_id: '1', trace_id: 'x', data: envelope('raw-2', 's', { content: 'hello' }), payload: '{}' })
    expect(await house.client().result({ sessionId: 's', messageId: 'raw-2', timeoutMs: 5_000 })).toMatchObject({
      data: 'hello',
    })
  })

  test('added twice runs once', async () => {
    const house = new House()
    let ran = 0
    await house.work(() => {
      ran += 1
    })
    await Promise.all(Array.from({ length: 5 }, () => house.add({ data: envelope('raw-3', 's') })))
    await house.client().result({ sessionId: 's', messageId: 'raw-3', timeoutMs: 5_000 })
    await house.settled()
    expect(ran).toBe(1)
    expect(await house.dones('s', 'raw-3')).toHaveLength(1)
  })
})

describe('a command of one’s own', () => {
  class Dance extends GatewayCommand {
    static readonly actionType = 'DANCE_OF_POISON_TEST'
    readonly steps: number
    constructor(header: GatewayCommand['header'] | ConstructorParameters<typeof MessageHeader>[0], steps: number) {
      super(header)
      this.steps = steps
    }
    override toBody() {
      return { steps: this.steps }
    }
    static fromBody(header: MessageHeader, body: Record<string, unknown>): Dance {
      if (typeof body.steps !== 'number') throw new Error('steps must be a number')
      return new Dance(header, body.steps)
    }
  }
  registerCommand(Dance)
  const header = { messageId: 'd-1', sessionId: 's', traceId: 't', targetAgentType: 'agent' }

  test('is sent, received as its class, and ends like a task', async () => {
    const house = new House()
    await house.work((command: GatewayCommand) => {
      if (command instanceof Dance) return `danced ${command.steps}`
      return command instanceof AskAgentCommand ? 'asked' : 'other'
    })
    const client = house.client()
    expect(await client.sendCommand(new Dance(header, 3))).toMatchObject({
      success: true,
      status: 'QUEUED',
      messageId: 'd-1',
    })
    expect(await client.result({ sessionId: 's', messageId: 'd-1' })).toMatchObject({ data: 'danced 3' })
    const ask = new AskAgentCommand({ header: { ...header, messageId: 'd-2' }, content: 'x' })
    await client.sendCommand(ask)
    expect(await client.result({ sessionId: 's', messageId: 'd-2' })).toMatchObject({ data: 'asked' })
  })

  test('with a bad body is poison', async () => {
    const house = new House()
    await house.work(() => 'fine')
    await house.add({ data: envelope('d-3', 's', { steps: 'many' }, Dance.actionType) })
    expect(await house.client().result({ sessionId: 's', messageId: 'd-3', timeoutMs: 5_000 })).toMatchObject({
      ...{ status: 'FAILED', error: { code: 'GW_POISON', message: expect.stringContaining('steps must be a number') } },
    })
  })
})

test('whatever sendCommand accepts comes to an end', async () => {
  const house = new House()
  await house.work(() => 'fine')
  const client = house.client()
  const init = { messageId: 'c-1', sessionId: 's', traceId: 't', targetAgentType: 'agent' }
  const odd: Record<string, unknown>[] = [
    { traceId: '' },
    { metadata: [] },
    { userCode: 7 },
    { parentMessageId: 7 },
    { messageId: 'a b' },
    { sessionId: '' },
    { targetAgentType: 'a b' },
    { targetAgentType: '' },
  ]
  for (const [index, change] of odd.entries()) {
    const header = { ...init, messageId: `c-${index}`, ...change } as typeof init
    const sent = await client.sendCommand(new AskAgentCommand({ header, content: 'x' }))
    if (!sent.success) {
      expect(sent).toMatchObject({ status: 'REJECTED', error: { code: 'GW_INVALID_ARGUMENT' } })
      continue
    }
    const result = await client
      .result({ sessionId: header.sessionId, messageId: header.messageId, timeoutMs: 2_000 })
      .catch((error: Error) => error.message)
    expect([change, result]).toEqual([change, expect.objectContaining({ messageId: header.messageId })])
  }
})

test('a task whose record is no record keeps none of those from running that were taken with it', async () => {
  const house = new House()
  const ids = Array.from({ length: 6 }, (_, i) => `m-${i}`)
  for (const id of ids) await house.add({ data: envelope(id, 's') })
  await house.redis.set(house.keys.task('s', 'm-2'), 'no record')
  const ran: string[] = []
  await house.work((_, { messageId }) => ran.push(messageId), { maxConcurrency: 10 })
  await waitFor(() => ran.length === 5, { message: () => `five tasks to run, there are ${ran.length}` })
  expect(ran.sort()).toEqual(ids.filter((id) => id !== 'm-2'))
})

describe('a key of another kind than it should be', () => {
  const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }
  const errors = (house: House) => house.logger.lines.filter(({ level }) => level === 'error')

  test('in place of a record sends its task to the dead letters, once; mended and redriven it runs', async () => {
    const house = new House()
    const client = house.client()
    await client.sendMessage(send)
    await house.redis.set(house.keys.task('s', 'm'), 'no record')
    let runs = 0
    await house.work(() => (runs += 1), { leaseMs: 300 })
    const letter = await oneLetter(house)
    expect([String(letter.get('reason')), String(letter.get('message_id'))]).toEqual(['wrong-kind', 'm'])
    expect(String(letter.get('detail'))).toContain('WRONGTYPE')
    await house.settled()
    expect([runs, errors(house).length]).toEqual([0, 1])
    await house.redis.del(house.keys.task('s', 'm'))
    expect(await client.redriveDeadLetters({ messageId: 'm' })).toMatchObject({ redriven: 1 })
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'COMPLETED' })
  })

  test('in place of a data stream does not let its handler run again and again', async () => {
    const house = new House()
    await house.redis.set(house.keys.data('s'), 'no stream')
    let runs = 0
    await house.work(() => (runs += 1), { leaseMs: 300 })
    await house.client().sendMessage(send)
    const letter = await oneLetter(house)
    expect([String(letter.get('reason')), String(letter.get('message_id'))]).toEqual(['failed', 'm'])
    expect(String(letter.get('detail'))).toContain('WRONGTYPE')
    await house.settled()
    expect([runs, errors(house).length]).toEqual([1, 1])
  })

  test('in place of a journal lets its task fail', async () => {
    const house = new House()
    const ask = (_: unknown, context: AgentContext) => context.askUser('which?')
    const first = await house.work(ask, { suspendAfterMs: 20 })
    const client = house.client()
    await client.sendMessage(send)
    const [asked] = await waitFor(async () => {
      const asks = (await client.getTask(send))?.status === 'WAITING_USER' ? await client.pendingAsks('s') : []
      return asks.length > 0 && asks
    })
    await first.stop()
    await client.reply({ sessionId: 's', messageId: 'm', askId: asked?.askId ?? '', content: 'that' })
    await house.redis.del(house.keys.journal('s', 'm'))
    await house.redis.set(house.keys.journal('s', 'm'), 'no journal')
    await house.work(ask, { leaseMs: 300 })
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ status: 'FAILED' })
    await house.settled()
    expect(await house.redis.exists(house.keys.journal('s', 'm'))).toBe(0)
  })

  test.each([5, 60])(
    'in place of a control stream holds up its own delayed tasks only, of %i due at one moment',
    async (count) => {
      const house = new House()
      const ran: string[] = []
      await house.work(({ header }) => void ran.push(header.messageId))
      await house.redis.set(house.keys.control('broken'), 'no stream')
      const client = house.client()
      const send = (targetAgentType: string, messageId: string) =>
        client.sendMessage({ sessionId: 's', messageId, targetAgentType, content: 'x', delayMs: 600 })
      const ids = Array.from({ length: count }, (_, index) => `m-${index}`)
      await Promise.all(ids.flatMap((id) => [send('broken', `broken-${id}`), send('agent', id)]))
      await waitFor(() => ran.length === ids.length)
      await pause(200)
      expect(ran.sort()).toEqual([...ids].sort())
      const isBroken = (member: string) => member.includes(' broken-')
      await waitFor(async () => (await agendaOf(house)).every(isBroken))
      expect(await agendaOf(house)).toHaveLength(ids.length)
      await house.redis.del(house.keys.control('broken'))
      await waitFor(async () => (await house.waiting('broken')) >= ids.length, { timeoutMs: 10_000 })
      await waitFor(async () => (await agendaOf(house)).length === 0)
    },
  )

  test('in place of a record keeps no others from having their ends when they are due', async () => {
    const house = new House()
    const client = house.client()
    const ids = Array.from({ length: 20 }, (_, index) => `m-${index}`)
    const send = { sessionId: 's', targetAgentType: 'nobody', content: 'x', expiresInMs: 500 }
    await Promise.all(ids.map((messageId) => client.sendMessage({ ...send, messageId })))
    const good = ids.slice(1)
    const broken = house.keys.task('s', ids[0] as string)
    await house.redis.del(broken)
    await house.redis.set(broken, 'no record')
    // All at one moment.
    const [due = ''] = await house.redis.keys(`${house.prefix}:delayed:*`)
    const at = String(Date.now() + 300)
    await Promise.all((await agendaOf(house)).map((member) => house.redis.zadd(due, 'XX', at, member)))
    await house.work(() => undefined)
    await waitFor(async () => {
      const ttls = await Promise.all(good.map((id) => house.redis.pttl(house.keys.task('s', id))))
      return ttls.every((ttl) => ttl > 0)
    })
    await waitFor(async () => (await agendaOf(house)).length === 1)
    expect(await house.waiting('nobody')).toBe(1)
  })

  test('in place of the agenda, which is no key of the task, makes it wait for its next attempt until that is mended', async () => {
    const house = new House()
    const agenda = [0, 1, 2, 3].map((shard) => house.keys.agenda(shard).due)
    for (const key of agenda) await house.redis.set(key, 'no agenda')
    const retry = { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 1 } } as const
    let runs = 0
    const handle = () => {
      runs += 1
      if (runs === 1) throw new Error('boom')
      return 'fine'
    }
    await house.work(handle, { leaseMs: 300, retry })
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(() => house.logger.lines.some(({ message }) => message === 'tasks were taken but not begun'))
    expect(await house.redis.exists(house.keys.dead('agent'))).toBe(0)
    await house.redis.del(...agenda)
    expect(await client.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ data: 'fine', attempts: 2 })
    expect(runs).toBe(2)
  })
})
