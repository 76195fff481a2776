import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { defineAgent } from '../../src/agent/contract.ts'
import type { SendMessageRequest } from '../../src/client/request.ts'
import { AskAgentCommand } from '../../src/protocol/command.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Gate, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

/** All keys of the house with what they hold. */
async function snapshot(house: House): Promise<Map<string, string>> {
  const keys = (await house.redis.keys(`${house.prefix}*`)).sort()
  return new Map(await Promise.all(keys.map(async (key) => [key, String(await house.redis.dump(key))] as const)))
}

describe('a send', () => {
  test('says what it did, and one entry with one record is there', async () => {
    const house = new House()
    const client = house.client()
    const before = Date.now()
    const sent = await client.sendMessage({
      ...send,
      metadata: { a: 1 },
      userCode: 'u',
      userName: 'n',
      extraPayload: { b: 2 },
    })
    expect(sent).toEqual({
      ...{ success: true, status: 'QUEUED', timestamp: expect.any(Number) },
      ...{ messageId: expect.stringMatching(/^msg-[0-9a-f-]{36}$/), traceId: expect.stringMatching(/^[0-9a-f]{32}$/) },
    })
    expect(sent.timestamp).toBeGreaterThanOrEqual(before)
    const [[, fields] = ['', []]] = await house.redis.xrange(house.keys.control('agent'), '-', '+')
    expect(fields[0]).toBe('data')
    // What is ours alone stands beside it: whose task it is.
    expect(fields.slice(2)).toEqual(['task', `{s}:${sent.messageId}`])
    expect(JSON.parse(fields[1] as string)).toEqual({
      action_type: 'ASK_AGENT',
      header: {
        ...{ message_id: sent.messageId, session_id: 's', trace_id: sent.traceId, target_agent_type: 'agent' },
        ...{ source_agent_type: '', parent_message_id: '', task_group_id: '', user_code: 'u', user_name: 'n' },
        ...{ metadata: { a: 1 }, trace_parent_span_id: '', langfuse_parent_observation_id: '' },
      },
      body: { content: 'hi', wait_for_reply: false, extra_payload: { b: 2 } },
    })
    expect(await client.getTask({ sessionId: 's', messageId: sent.messageId })).toMatchObject({
      status: 'QUEUED',
      userCode: 'u',
    })
    const { keys } = house
    expect([...(await snapshot(house)).keys()]).toEqual(
      [keys.control('agent'), keys.newest(), keys.session('s'), keys.task('s', sent.messageId)].sort(),
    )
  })

  test('many at once are all there, in order', async () => {
    const house = new House()
    const client = house.client()
    const sent = await Promise.all(
      Array.from({ length: 1_000 }, (_, i) => client.sendMessage({ ...send, content: `${i}` })),
    )
    expect(new Set(sent.map(({ messageId }) => messageId)).size).toBe(1_000)
    const entries = await house.redis.xrange(house.keys.control('agent'), '-', '+')
    const contents = entries.map(([, [, data]]) => Number(JSON.parse(data as string).body.content))
    expect(contents).toEqual(Array.from({ length: 1_000 }, (_, i) => i))
  })
})

describe('a request that is at fault is answered with its field, and nothing is written', () => {
  const cases: [Partial<Record<keyof SendMessageRequest | 'target' | 'typo', unknown>>, RegExp][] = [
    [{ targetAgentType: 'a b' }, /^targetAgentType is invalid: .*"a b"/],
    [{ targetAgentType: '' }, /^targetAgentType is invalid/],
    [{ targetAgentType: undefined }, /^targetAgentType is invalid/],
    [{ targetAgentType: 'worker' }, /^targetAgentType is invalid: this name is reserved \(got "worker"\)$/],
    [{ sessionId: '' }, /^sessionId is invalid/],
    [{ sessionId: 's{1}' }, /^sessionId is invalid: .*"s\{1\}"/],
    [{ sessionId: undefined }, /^sessionId is invalid/],
    [{ messageId: 'a b' }, /^messageId is invalid/],
    [{ parentMessageId: '' }, /^parentMessageId is invalid/],
    [{ traceId: '' }, /^traceId is invalid/],
    [{ content: '' }, /^content is invalid: must not be blank/],
    [{ content: '  \n' }, /^content is invalid: must not be blank/],
    [{ content: [] }, /^content is invalid: must not be empty/],
    [{ content: undefined }, /^content is invalid/],
    [{ content: null }, /^content is invalid/],
    [{ content: 7 }, /^content is invalid.*7/],
    [{ content: new Date(Number.NaN) }, /^content is invalid: must be a text, an array or an object/],
    [{ content: { toJSON: () => undefined } }, /^content is invalid: must be a text, an array or an object/],
    [{ content: new String('') }, /^content is invalid: must not be blank/],
    [{ content: new Number(7) }, /^content is invalid: must be a text, an array or an object/],
    [{ content: new Map([['a', 1]]) }, /^content is invalid: JSON keeps nothing of a Map/],
    [{ content: new Boolean(true) }, /^content is invalid: must be a text, an array or an object/],
    [{ content: { toJSON: () => '' } }, /^content is invalid: must not be blank/],
    [{ target: 'agent' }, /^target is invalid: must be a contract.* targetAgentType \(got "agent"\)$/],
    [{ target: { agentType: 'agent' } }, /^target is invalid: must be a contract/],
    [{ target: null }, /^target is invalid: must be a contract/],
    [{ target: undefined, targetAgentType: undefined }, /^targetAgentType is invalid/],
    [{ metadata: 'x' }, /^metadata is invalid/],
    [{ metadata: [1] }, /^metadata is invalid/],
    [{ metadata: { gateway_options: { timeout_ms: 5 } } }, /^metadata is invalid: .*'gateway_options'/],
    [{ metadata: JSON.parse('{"__proto__":1}') }, /^metadata is invalid: .*'__proto__'/],
    [{ extraPayload: JSON.parse('{"__proto__":1}') }, /^extraPayload is invalid: .*'__proto__'/],
    [{ extraPayload: 1 }, /^extraPayload is invalid/],
    [{ userCode: 7 }, /^userCode is invalid/],
    [{ userName: null }, /^userName is invalid/],
    [{ requireOnlineWorker: 'yes' }, /^requireOnlineWorker is invalid/],
    [{ typo: 1 }, /^typo is invalid/],
    [
      { retry: { backoff: { type: 'exponential', delayMs: 50, maxDelayMs: 49 } } },
      /^retry\.backoff\.maxDelayMs is invalid: must not be below delayMs \(got 49\)$/,
    ],
  ]
  test.each(cases)('%j', async (change, message) => {
    const house = new House()
    const answer = await house.client().sendMessage({ ...send, ...change } as SendMessageRequest)
    expect(answer).toMatchObject({ success: false, status: 'REJECTED' })
    if (answer.success) return
    expect(answer.error.code).toBe('GW_INVALID_ARGUMENT')
    expect(answer.error.message).toMatch(message)
    expect(answer.messageId).toEqual(expect.any(String))
    expect(await snapshot(house)).toEqual(new Map())
  })

  test.each(['targetAgentType', 'sessionId'] as const)('also without %s', async (name) => {
    const { [name]: _, ...rest } = send
    const answer = await new House().client().sendMessage(rest as unknown as SendMessageRequest)
    expect(answer).toMatchObject({ error: { message: expect.stringMatching(new RegExp(`^${name} is invalid`)) } })
  })

  test('also content that throws when it is made JSON', async () => {
    const house = new House()
    const toJSON = () => {
      throw new Error('no')
    }
    expect(await house.client().sendMessage({ ...send, content: { toJSON } })).toMatchObject({
      ...{ status: 'REJECTED', error: { code: 'GW_INVALID_ARGUMENT', message: 'content is invalid: no' } },
    })
  })

  test.each([
    [{ priority: 'urgent' }, /^priority is invalid/],
    [{ priority: '@w' }, /^priority is invalid/],
    [{ requireOnlineWorker: 'yes' }, /^requireOnlineWorker is invalid/],
    [{ delayMs: 5 }, /^delayMs is invalid/],
    [null, /^the options is invalid/],
  ])('also beside a prepared command: %j', async (options, message) => {
    const house = new House()
    const command = new AskAgentCommand({ header: { sessionId: 's', targetAgentType: 'agent' }, content: 'hi' })
    expect(await house.client().sendCommand(command, options as never)).toMatchObject({
      ...{ success: false, status: 'REJECTED', messageId: command.header.messageId },
      error: { code: 'GW_INVALID_ARGUMENT', message: expect.stringMatching(message) },
    })
    expect(await snapshot(house)).toEqual(new Map())
  })

  test('by the whole path of an option', async () => {
    const client = new House().client()
    const refused = async (retry: object) => (await client.sendMessage({ ...send, retry })) as { error?: object }
    expect((await refused({ maxAttempt: 3 })).error).toMatchObject({
      message: expect.stringMatching(/^retry\.maxAttempt is invalid.*\(got 3\)/),
    })
    expect((await refused({ backoff: { type: 'fixed' } })).error).toMatchObject({
      message: expect.stringMatching(/^retry\.backoff\.delayMs is invalid/),
    })
  })

  test('what JSON cannot carry', async () => {
    const house = new House()
    for (const part of ['metadata', 'extraPayload', 'content']) {
      expect(await house.client().sendMessage({ ...send, [part]: { n: 1n } })).toMatchObject({
        ...{ success: false, status: 'REJECTED' },
        error: { code: 'GW_INVALID_ARGUMENT', message: expect.stringMatching(new RegExp(`^${part} is invalid:`)) },
      })
    }
    expect(await snapshot(house)).toEqual(new Map())
  })

  test('cyclic content', async () => {
    const house = new House()
    const content: Record<string, unknown> = {}
    content.self = content
    const answer = await house.client().sendMessage({ ...send, content })
    expect(answer).toMatchObject({ success: false, status: 'REJECTED', error: { code: 'GW_INVALID_ARGUMENT' } })
    expect(await snapshot(house)).toEqual(new Map())
  })

  test('too large, in bytes', async () => {
    const house = new House()
    const client = house.client({ maxPayloadBytes: 1_000 })
    expect(await client.sendMessage({ ...send, content: 'x'.repeat(400) })).toMatchObject({ success: true })
    const before = await snapshot(house)
    const answer = await client.sendMessage({ ...send, content: '漢'.repeat(300) })
    expect(answer).toMatchObject({ success: false, status: 'REJECTED', error: { code: 'GW_PAYLOAD_TOO_LARGE' } })
    expect(await snapshot(house)).toEqual(before)
  })

  test('the ids that were given come back', async () => {
    const answer = await new House().client().sendMessage({ ...send, content: '', messageId: 'm', traceId: 't' })
    expect(answer).toMatchObject({ success: false, messageId: 'm', traceId: 't', timestamp: expect.any(Number) })
  })
})

test('a send that Redis cannot carry out does not take its neighbours with it', async () => {
  const house = new House()
  const client = house.client()
  await house.redis.set(house.keys.control('broken'), 'no stream')
  await house.redis.set(house.keys.task('broken', 'm'), 'no hash')
  const requests = ['before', 'broken', 'after'].flatMap((targetAgentType) => [
    { ...send, targetAgentType },
    { ...send, targetAgentType: 'agent', sessionId: targetAgentType, messageId: 'm', delayMs: 60_000 },
  ])
  const sent = await Promise.allSettled(requests.map((request) => client.sendMessage(request)))
  expect(sent.map((one) => (one.status === 'fulfilled' ? one.value.status : one.reason.message))).toEqual([
    ...['QUEUED', 'QUEUED', expect.stringContaining('WRONGTYPE'), expect.stringContaining('WRONGTYPE')],
    ...['QUEUED', 'QUEUED'],
  ])
  for (const capability of ['before', 'after']) {
    const ran: string[] = []
    await house.work((_command, context) => ran.push(context.messageId), { capabilities: [capability] })
    await house.settled(capability)
    expect(ran).toHaveLength(1)
    expect(await client.listTasks({ sessionId: capability, status: 'DELAYED' })).toHaveLength(1)
  }
})

describe('requireOnlineWorker', () => {
  test('without a worker: NO_WORKER, and nothing is written', async () => {
    const house = await House.private()
    const client = house.client()
    await client.sendMessage({ ...send, targetAgentType: 'other', sessionId: 's-2' })
    const before = await snapshot(house)
    const size = await house.redis.dbsize()
    const answers = await Promise.all(
      Array.from({ length: 5 }, (_, i) =>
        client.sendMessage({ ...send, messageId: `m-${i}`, requireOnlineWorker: true }),
      ),
    )
    for (const [i, answer] of answers.entries()) {
      expect(answer).toEqual({
        ...{
          success: false,
          status: 'NO_WORKER',
          messageId: `m-${i}`,
          traceId: expect.any(String),
          timestamp: expect.any(Number),
        },
        error: { code: 'GW_NO_ONLINE_WORKER', message: "no live worker offers 'agent'" },
      })
    }
    expect(await house.redis.dbsize()).toBe(size)
    expect(await snapshot(house)).toEqual(before)
  })

  test('with a worker of another capability, and with one that has left: NO_WORKER too', async () => {
    const house = new House()
    const client = house.client()
    await house.work(() => null, { capabilities: ['other'] })
    expect(await client.sendMessage({ ...send, requireOnlineWorker: true })).toMatchObject({ status: 'NO_WORKER' })
    const worker = await house.work(() => 'fine')
    const sent = await client.sendMessage({ ...send, requireOnlineWorker: true })
    expect(sent).toMatchObject({ success: true, status: 'QUEUED' })
    expect(await client.result({ sessionId: 's', messageId: sent.messageId })).toMatchObject({ data: 'fine' })
    await worker.stop()
    expect(await client.sendMessage({ ...send, requireOnlineWorker: true })).toMatchObject({ status: 'NO_WORKER' })
  })

  test('what was sent when somebody was there is QUEUED, also where it is sent again when he has left', async () => {
    const house = new House()
    const client = house.client()
    const ways = [{}, { targetWorkerId: 'w' }, { delayMs: 60_000 }, { expiresInMs: 60_000 }]
    const worker = await house.work(() => new Gate().pass(), { workerId: 'w' })
    const sendAll = () =>
      Promise.all(
        ways.map((way, i) => client.sendMessage({ ...send, messageId: `m-${i}`, requireOnlineWorker: true, ...way })),
      )
    expect((await sendAll()).map(({ status }) => status)).toEqual(ways.map(() => 'QUEUED'))
    await worker.stop()
    expect((await sendAll()).map(({ status }) => status)).toEqual(ways.map(() => 'QUEUED'))
    expect(await client.sendMessage({ ...send, requireOnlineWorker: true })).toMatchObject({ status: 'NO_WORKER' })
    expect(await client.listTasks({ sessionId: 's' })).toHaveLength(ways.length)
    const ran: string[] = []
    await house.work((_command, { messageId }) => void ran.push(messageId), { workerId: 'w' })
    // His own lane is not among those that are to be settled.
    await client.result({ sessionId: 's', messageId: 'm-1' })
    await house.settled()
    expect(ran.sort()).toEqual(['m-0', 'm-1', 'm-3'])
  })

  test('with a worker whose lease is longer than usual: it is live all the time', async () => {
    const house = new House()
    // It gives a sign of life every 15 s, which is fine with a lease of 60 s: as if the last one was 14 s ago.
    await house.work(() => 'fine', { workerId: 'w', leaseMs: 60_000 })
    const client = house.client()
    const seen = Date.now() - 14_000
    await house.redis.zadd(house.keys.capability('agent'), 'XX', 'LT', seen, 'w')
    await house.redis.zadd(house.keys.workers(), 'XX', 'LT', seen, 'w')
    await house.redis.hset(house.keys.worker('w'), 'last_seen_at', seen)
    await house.redis.pexpire(house.keys.worker('w'), (await house.redis.pttl(house.keys.worker('w'))) - 14_000)
    expect(await client.sendMessage({ ...send, requireOnlineWorker: true })).toMatchObject({ status: 'QUEUED' })
    expect((await client.listWorkers()).map(({ workerId }) => workerId)).toEqual(['w'])
  })
})

describe('one message id runs once', () => {
  test('sent ten times at once, by two clients', async () => {
    const house = new House()
    const clients = [house.client(), house.client()]
    let ran = 0
    await house.work(() => {
      ran += 1
      return ran
    })
    const sends = Array.from({ length: 10 }, (_, i) => clients[i % 2]?.sendMessage({ ...send, messageId: 'm' }))
    for (const answer of await Promise.all(sends)) expect(answer).toMatchObject({ success: true, messageId: 'm' })
    expect(await clients[0]?.result({ sessionId: 's', messageId: 'm' })).toMatchObject({ data: 1, attempts: 1 })
    await house.settled()
    expect(ran).toBe(1)
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('sent again before, while and after it runs', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    await client.sendMessage({ ...send, messageId: 'm' })
    await client.sendMessage({ ...send, messageId: 'm' })
    await house.work(() => gate.pass())
    await gate.reached(1)
    await client.sendMessage({ ...send, messageId: 'm' })
    await waitFor(async () => (await house.waiting()) === 1, { message: 'the duplicates to be gone' })
    gate.open()
    const result = await client.result({ sessionId: 's', messageId: 'm' })
    await house.settled()
    expect(await client.ask({ ...send, messageId: 'm', timeoutMs: 5_000 })).toEqual(result)
    await house.settled()
    expect(gate.arrived).toBe(1)
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('sent at once to several lanes, whose entries have one millisecond', async () => {
    const house = new House()
    const client = house.client()
    const messageIds = Array.from({ length: 20 }, (_, i) => `m-${i}`)
    const lanes = ['high', 'normal', 'low', 'high', 'low'] as const
    const sends = messageIds.flatMap((messageId) =>
      lanes.map((priority) => client.sendMessage({ ...send, messageId, priority })),
    )
    for (const answer of await Promise.all(sends)) expect(answer).toMatchObject({ status: 'QUEUED' })
    const ran: string[] = []
    const gate = new Gate()
    const handler = ({ header }: { header: { messageId: string } }) => {
      ran.push(header.messageId)
      return gate.pass()
    }
    await house.work(handler, { maxConcurrency: 100 })
    const entries = async () => {
      const lengths = lanes.slice(0, 3).map((lane) => house.redis.xlen(house.keys.control('agent', lane)))
      return (await Promise.all(lengths)).reduce((sum, length) => sum + length)
    }
    await waitFor(async () => (await entries()) === 20, { message: 'the duplicates to be gone' })
    gate.open()
    await Promise.all(messageIds.map((messageId) => client.result({ sessionId: 's', messageId })))
    await house.settled()
    expect(ran.sort()).toEqual(messageIds.sort())
  })

  test('the same id in another session is another task', async () => {
    const house = new House()
    const client = house.client()
    await house.work((_command, context) => context.sessionId)
    const results = await Promise.all(
      ['s-1', 's-2'].map((sessionId) => client.ask({ ...send, sessionId, messageId: 'm' })),
    )
    expect(results.map(({ data }) => data)).toEqual(['s-1', 's-2'])
  })
})

describe('a contract', () => {
  const weather = defineAgent('weather', {
    input: z.object({ city: z.string().min(2), days: z.coerce.number().default(1) }),
    output: z.object({ summary: z.string(), temperature: z.number().transform((celsius) => Math.round(celsius)) }),
  })
  const answers: Record<string, unknown> = {
    Beijing: { summary: 'sunny', temperature: 20.4 },
    Nowhere: { summary: 7 },
    Silence: undefined,
  }

  async function withWeather() {
    const house = new House()
    const seen: unknown[] = []
    await house.work(
      (command) => {
        seen.push(command.content)
        return answers[(command.content as { city: string }).city]
      },
      { capabilities: [weather] },
    )
    return { house, seen, client: house.client() }
  }

  test('good input arrives as the schema made it, good output too', async () => {
    const { client, seen } = await withWeather()
    const result = await client.ask({ target: weather, sessionId: 's', content: { city: 'Beijing', days: '3' } })
    expect(result).toMatchObject({ status: 'COMPLETED', data: { summary: 'sunny', temperature: 20 } })
    expect(seen).toEqual([{ city: 'Beijing', days: 3 }])
  })

  test('bad input is refused at the sender, with the path, and nothing is written', async () => {
    const { house, client, seen } = await withWeather()
    const written = async () => [...(await snapshot(house)).keys()].filter((key) => key.includes('{s}'))
    const answer = await client.sendMessage({ target: weather, sessionId: 's', content: { city: 'B', days: 'x' } })
    expect(answer).toMatchObject({ success: false, status: 'REJECTED', error: { code: 'GW_CONTRACT_VIOLATION' } })
    if (!answer.success) expect(answer.error.message).toMatch(/contract of 'weather': city: .*; days: /)
    await expect(client.ask({ target: weather, sessionId: 's', content: { city: 'B' } })).rejects.toMatchObject({
      ...{ code: 'GW_SEND_REFUSED', message: expect.stringMatching(/REJECTED.*city/) },
    })
    await pause(20)
    expect(await written()).toEqual([])
    expect(seen).toEqual([])
  })

  test('bad input from elsewhere fails before the handler', async () => {
    const { client, seen } = await withWeather()
    const result = await client.ask({ targetAgentType: 'weather', sessionId: 's', content: { city: 7 } })
    expect(result).toMatchObject({ status: 'FAILED', data: null, error: { code: 'GW_CONTRACT_VIOLATION' } })
    expect(result.error?.message).toMatch(/^content does not fit the contract of 'weather': city: /)
    expect(await client.ask({ targetAgentType: 'weather', sessionId: 's', content: 'Beijing' })).toMatchObject({
      status: 'FAILED',
    })
    expect(seen).toEqual([])
  })

  test.each([
    ['Nowhere', /^result does not fit the contract of 'weather': summary: /],
    ['Silence', /^result does not fit/],
  ])('bad output (%s) fails the task', async (city, message) => {
    const { house, client, seen } = await withWeather()
    const result = await client.ask({ target: weather, sessionId: 's', content: { city } })
    expect(result).toMatchObject({ status: 'FAILED', data: null, error: { code: 'GW_CONTRACT_VIOLATION' } })
    expect(result.error?.message).toMatch(message)
    expect(seen).toHaveLength(1)
    await house.settled('weather')
  })

  test('only what is asked under it is bound by it', async () => {
    const house = new House()
    await house.work((command) => command.content, { capabilities: ['free', weather] })
    expect(await house.client().ask({ targetAgentType: 'free', sessionId: 's', content: 'x' })).toMatchObject({
      data: 'x',
    })
  })
})
