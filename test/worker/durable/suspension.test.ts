import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { AgentContext } from '../../../src/agent/context.ts'
import { Journals } from '../../../src/store/journals.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { deferred } from '../../../src/util/deferred.ts'
import { OpenResources } from '../../support/open-resources.ts'
import { Gate, House } from '../harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }
const capabilities = ['agent', 'child']
const call = { targetAgentType: 'child', content: 'x' }

describe('a task that waits for long', () => {
  test('leaves memory and its stream, and goes on in whatever worker there is when the answer comes', async () => {
    const house = new House()
    const client = house.client()
    let runs = 0
    const told: string[] = []
    const handle = async (_: unknown, context: AgentContext) => {
      runs += 1
      context.onSuspend(async () => {
        told.push(context.workerId)
      })
      context.onSuspend(() => {
        throw new Error('of no importance')
      })
      const { content } = await context.callAgent(call)
      return [content, context.workerId, context.attempt]
    }
    const first = await house.work(handle, { workerId: 'w-1', suspendAfterMs: 50 })
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_AGENT')
    await house.settled('agent')
    expect(first.running).toBe(0)
    expect(told).toEqual(['w-1'])
    await first.stop()
    await house.work((command, context) => (context.agentType === 'child' ? 'late' : handle(command, context)), {
      ...{ workerId: 'w-2', capabilities, suspendAfterMs: 50 },
    })
    expect((await client.result(send)).data).toEqual(['late', 'w-2', 1])
    expect(runs).toBe(2)
    expect(await house.dones('s', 'm')).toHaveLength(1)
    await house.settled(...capabilities)
    const record = await house.redis.hgetall(house.keys.task('s', 'm'))
    expect(Object.keys(record)).not.toEqual(expect.arrayContaining(['envelope']))
  })

  test.each([0, 20])(
    'takes words back that come in another role, not those with other metadata (coalesceMs %d)',
    async (coalesceMs) => {
      const house = new House()
      const client = house.client()
      const handle = async (_: unknown, context: AgentContext) => {
        const run = context.fencingToken
        void context.emitChunk('hm', { metadata: { run } })
        if (context.messageId === 'm') void context.emitChunk({ content: 'so', role: `role-${run}` })
        await context.callAgent(call)
      }
      await house.work(handle, { suspendAfterMs: 50, coalesceMs })
      await client.sendMessage(send)
      await client.sendMessage({ ...send, messageId: 'same' })
      await waitFor(async () => (await client.listTasks({ status: 'WAITING_AGENT' })).length === 2)
      await house.work(() => 'y', { capabilities: ['child'] })
      await client.result(send)
      await client.result({ ...send, messageId: 'same' })
      const saidBy = async (messageId: string) => {
        const said: string[] = []
        for await (const event of client.subscribe('s', { after: '0', messageId })) {
          said.push((event.type === 'chunk' && event.role) || event.type)
        }
        return said
      }
      expect(await saidBy('m')).toEqual(['chunk', 'role-1', 'rewind', 'chunk', 'role-2', 'done'])
      expect(await saidBy('same')).toEqual(['chunk', 'done'])
    },
  )

  test('is nothing that the doctor would repair', async () => {
    const house = new House()
    const client = house.client()
    await house.work((_, context) => context.callAgent(call), { suspendAfterMs: 20 })
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_AGENT')
    const diagnosis = await client.diagnose({ fix: true })
    expect(JSON.stringify(diagnosis)).not.toContain('"messageId":"m"')
    expect((await client.getTask(send))?.status).toBe('WAITING_AGENT')
    expect(await client.explain({ sessionId: 's', messageId: 'm' })).toMatchObject({ state: 'suspended' })
  })

  test('keeps what was said in its session, also while others there come to their ends, and no longer', async () => {
    const house = new House()
    const client = house.client()
    const handle = async (_: unknown, context: AgentContext) => {
      await context.emitChunk('before ')
      if (context.messageId !== 'm-3') await context.askUser('Well?')
      else if (context.attempt === 1) throw new Error('again')
    }
    const retry = { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 10 } } as const
    await house.work(handle, { suspendAfterMs: 20, streamTtlMs: 50_000, resultTtlMs: 50_000, retry })
    const ttls = () => Promise.all([house.keys.data('s'), house.keys.session('s')].map((key) => house.redis.pttl(key)))
    for (const messageId of ['m', 'm-2']) {
      await client.sendMessage({ ...send, messageId })
      await waitFor(async () => (await client.getTask({ ...send, messageId }))?.status === 'WAITING_USER')
    }
    expect(await ttls()).toEqual([-1, -1])
    const { findings } = await client.diagnose({ fix: true, intervalMs: 50 })
    expect(findings.filter(({ kind }) => kind === 'key-without-ttl')).toEqual([])
    const answer = async (messageId: string) => {
      const { askId = '' } = (await client.pendingAsks('s')).find((ask) => ask.messageId === messageId) ?? {}
      await client.reply({ sessionId: 's', messageId, askId, content: 'yes' })
      await client.result({ sessionId: 's', messageId })
    }
    await answer('m-2')
    expect(await ttls()).toEqual([-1, -1])
    // Also by one that is tried again, and says so.
    expect((await client.ask({ ...send, messageId: 'm-3' })).attempts).toBe(2)
    expect(await ttls()).toEqual([-1, -1])
    await answer('m')
    for (const ttl of await ttls()) {
      expect(ttl).toBeGreaterThan(0)
      expect(ttl).toBeLessThanOrEqual(100_000)
    }
  })

  test('is not parked while a step, a tool or a short sleep runs', async () => {
    const house = new House()
    const gate = new Gate()
    const answered = deferred()
    let runs = 0
    await house.work(
      async (_, context) => {
        if (context.agentType === 'child') {
          await answered.promise
          return 'y'
        }
        runs += 1
        const step = context.step('long', () => gate.pass())
        const { content } = await context.callAgent(call)
        await step
        return content
      },
      { capabilities, suspendAfterMs: 20 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    await pause(200)
    expect((await client.getTask(send))?.status).toBe('RUNNING')
    answered.resolve()
    gate.open()
    expect((await client.result(send)).data).toBe('y')
    expect(runs).toBe(1)
  })

  const recording: Record<string, (context: AgentContext, round: number) => Promise<unknown>> = {
    'the time': (context) => context.now(),
    'a change in place': (context, round) => context.patched(`change ${round}`),
    'a call that waits for nothing': (context) => context.callAgent({ ...call, waitForReply: false }),
  }

  test.each(Object.keys(recording))(
    'is not parked while %s is being recorded, or was and is told again',
    async (name) => {
      const house = new House()
      const goOn = async (context: AgentContext) => {
        for (let round = 0; round < 200; round += 1) await recording[name]?.(context, round)
        if (context.attempt === 1) throw new Error('again')
        return 'gone through'
      }
      const retry = { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 10 } } as const
      await house.work((_, context) => Promise.race([context.askUser('Well?'), goOn(context)]), {
        suspendAfterMs: 10,
        retry,
      })
      const client = house.client()
      await client.sendMessage(send)
      const { data, attempts } = await client.result({ ...send, timeoutMs: 10_000 })
      expect([data, attempts]).toEqual(['gone through', 2])
    },
  )

  test('is told of nobody who cannot be called: that is refused where it is said', async () => {
    const house = new House()
    await house.work((_, context) => context.onSuspend('bye' as never), { retry: { maxAttempts: 1 } })
    expect((await house.client().ask(send)).error).toMatchObject({
      code: 'GW_INVALID_ARGUMENT',
      message: expect.stringContaining('the callback of onSuspend'),
    })
  })

  test('may say that it leaves, and need not wait for that', async () => {
    const house = new House()
    await house.work(
      (_, context) => {
        context.onSuspend(() => {
          void context.emitState('leaving')
        })
        return context.askUser('Well?')
      },
      { suspendAfterMs: 20 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_USER')
    expect((await house.events('s')).map(({ event_type: type }) => type)).toEqual(['ask_user', 'state'])
  })

  test('is parked at once when its worker stops', async () => {
    const house = new House()
    const client = house.client()
    const handle = async (_: unknown, context: AgentContext) =>
      context.agentType === 'child' ? context.workerId : (await context.callAgent(call)).content
    const first = await house.work(handle, { workerId: 'w-1', shutdownTimeoutMs: 20_000 })
    await client.sendMessage(send)
    await waitFor(async () => (await house.waiting('child')) === 1)
    const before = performance.now()
    await first.stop()
    expect(performance.now() - before).toBeLessThan(10_000)
    expect((await client.getTask(send))?.status).toBe('WAITING_AGENT')
    await house.work(handle, { workerId: 'w-2', capabilities })
    expect((await client.result(send)).data).toBe('w-2')
  })

  test('never misses an answer that comes while it is being parked', { timeout: 120_000 }, async () => {
    const house = new House()
    const client = house.client()
    const count = 150
    await house.work(
      async (_, context) => {
        if (context.agentType === 'child') {
          // About when the parent is parked.
          await pause(Math.random() * 30)
          return context.messageId
        }
        const [one, two] = await Promise.all([context.callAgent(call), context.callAgent(call)])
        return one.content !== two.content
      },
      { capabilities, suspendAfterMs: 10, maxConcurrency: 20 },
    )
    const ids = Array.from({ length: count }, (_, i) => `m-${i}`)
    await Promise.all(ids.map((messageId) => client.sendMessage({ ...send, messageId })))
    const ends = await Promise.all(ids.map((messageId) => client.result({ sessionId: 's', messageId })))
    expect(ends.every(({ data }) => data === true)).toBe(true)
    for (const messageId of ids) expect(await house.dones('s', messageId)).toHaveLength(1)
    await house.settled(...capabilities)
    expect(await client.listTasks({ sessionId: 's', limit: 1_000 })).toHaveLength(3 * count)
  })

  test('goes on in memory if its answer comes while it takes leave', async () => {
    const house = new House()
    const client = house.client()
    const [asked, left] = [new Gate(), new Gate()]
    await house.work(
      async (_, context) => {
        if (context.agentType === 'child') return asked.pass()
        context.onSuspend(() => left.pass())
        await context.callAgent(call)
        // A call of a model, say: nothing that will wake it.
        await pause(500)
        return 'answered'
      },
      { capabilities, suspendAfterMs: 20 },
    )
    await client.sendMessage(send)
    await left.reached(1)
    asked.open()
    await house.settled('child')
    await pause(50)
    left.open()
    expect(await client.result({ ...send, timeoutMs: 5_000 })).toMatchObject({ status: 'COMPLETED', data: 'answered' })
  })

  test('never stays parked with an answer that came while many were parked', { timeout: 60_000 }, async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    const handle = async (_: unknown, context: AgentContext) => {
      if (context.agentType === 'child') return gate.pass()
      context.onSuspend(() => {
        gate.open()
        return pause(100)
      })
      await context.callAgent(call)
      await pause(500)
      return 'answered'
    }
    const count = 300
    const parents = await house.work(handle, { workerId: 'w-1', shutdownTimeoutMs: 10_000 })
    await house.work(handle, { workerId: 'w-2', capabilities: ['child'], maxConcurrency: count })
    const refs = Array.from({ length: count }, (_, i) => ({ sessionId: `s-${i % 10}`, messageId: `m-${i}` }))
    await Promise.all(refs.map((ref) => client.sendMessage({ ...send, ...ref })))
    await gate.reached(count)
    await parents.stop()
    await house.work(handle, { workerId: 'w-3' })
    const ends = await Promise.all(refs.map((ref) => client.result({ ...ref, timeoutMs: 10_000 })))
    expect(ends.filter(({ data }) => data !== 'answered')).toEqual([])
  })

  test('is woken when a cancel is repeated whose first caller died before he told', async () => {
    const house = new House()
    const client = house.client()
    await house.work((_, context) => context.callAgent(call).catch((error) => error.status), { suspendAfterMs: 20 })
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_AGENT')
    const tasks = await client.listTasks({ sessionId: 's' })
    const childId = tasks.find(({ messageId }) => messageId !== 'm')?.messageId ?? ''
    const record = house.keys.task('s', childId)
    const [, journal, op] = ((await house.redis.hget(record, 'reply_to')) ?? '').split(' ') as [string, string, string]
    await house.redis.hset(record, { fence: 'X:0::', finished_at: '1' })
    await house.redis.hset(journal, { [`=${op}`]: '1 1 {"s":"X"}', n: '1' })
    const fence = (await house.redis.hget(house.keys.task('s', 'm'), 'fence')) as string
    await house.redis.hset(house.keys.task('s', 'm'), 'fence', `Q:${fence.split(':')[1]}::`)
    expect(await client.cancelTask({ sessionId: 's', messageId: childId })).toMatchObject({
      status: 'ALREADY_FINISHED',
    })
    expect((await client.result({ ...send, timeoutMs: 20_000 })).data).toBe('CANCELLED')
  })

  test('is woken by a second teller where the first died before he told', async () => {
    const house = new House()
    const client = house.client()
    await house.work((_, context) => context.callAgent(call), { suspendAfterMs: 20, workerId: 'w-1' })
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_AGENT')
    // A worker has ended the child and answered, but died before it put the parent on its stream.
    const [childId = ''] = (await client.listTasks({ sessionId: 's' }))
      .map(({ messageId }) => messageId)
      .filter((id) => id !== 'm')
    const child = house.keys.task('s', childId)
    const [, journal, op] = ((await house.redis.hget(child, 'reply_to')) ?? '').split(' ') as [string, string, string]
    const result = JSON.stringify({ s: 'C', r: '"told"' })
    await house.redis.hset(child, { fence: 'C:1:1-1:w-dead', result: '"told"', finished_at: '1', attempt: '1' })
    await house.redis.hset(journal, { [`=${op}`]: `1 1 ${result}`, n: '1' })
    const fence = (await house.redis.hget(house.keys.task('s', 'm'), 'fence')) as string
    await house.redis.hset(house.keys.task('s', 'm'), 'fence', `Q:${fence.split(':')[1]}::`)
    // The child's entry is delivered again.
    await house.work(() => 'not run', { capabilities: ['child'], workerId: 'w-2' })
    expect((await client.result({ ...send, timeoutMs: 20_000 })).data).toMatchObject({ content: 'told' })
  })
})

describe('a race', () => {
  test('ends the same way on a replay, whatever has come meanwhile', async () => {
    const house = new House()
    const slow = deferred()
    const last = deferred()
    const winners: string[] = []
    await house.work(
      async ({ content }, context) => {
        if (context.agentType === 'child') {
          if (content === 'slow') await slow.promise
          if (content === 'last') await last.promise
          return content
        }
        const ask = async (text: string) =>
          (await context.callAgent({ targetAgentType: 'child', content: text })).content
        // The slow one is asked first, so that nothing but the recorded order can tell.
        const winner = await Promise.race([ask('slow'), ask('fast')])
        winners.push(winner)
        slow.resolve()
        await ask('last')
        return winner
      },
      { capabilities, suspendAfterMs: 100 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_AGENT')
    last.resolve()
    expect((await client.result(send)).data).toBe('fast')
    expect(winners.length).toBeGreaterThan(1)
    expect(new Set(winners)).toEqual(new Set(['fast']))
  })

  test('of a call and a step ends as a replay sees it, although the answer waits for a free slot', async () => {
    const house = new House()
    const winners: string[] = []
    const work = { maxConcurrency: 1, suspendAfterMs: 0 }
    await house.work(
      async (_, context) => {
        if (context.agentType === 'filler') return pause(1_000)
        const winner = await Promise.race([
          context.callAgent({ targetAgentType: 'child', content: 'x' }).then(() => 'call'),
          context.step('short', () => pause(300).then(() => 'step')),
        ])
        winners.push(winner)
        await context.callAgent({ targetAgentType: winner === 'call' ? 'x' : 'y', content: 'x' })
        return winner
      },
      { ...work, capabilities: ['agent', 'filler'] },
    )
    await house.work((_, { agentType }) => pause(agentType === 'child' ? 100 : 500), {
      capabilities: ['child', 'x', 'y'],
    })
    const client = house.client()
    await client.sendMessage(send)
    await client.sendMessage({ ...send, messageId: 'filler', targetAgentType: 'filler' })
    expect((await client.result({ ...send, timeoutMs: 20_000 })).data).toBe('call')
    expect(winners.length).toBeGreaterThan(1)
    expect(new Set(winners)).toEqual(new Set(['call']))
  })

  test('of a call and a step ends the same way in the next attempt, although the step’s words have to be said again', async () => {
    const house = new House()
    const winners: string[] = []
    await house.work(
      async (_, context) => {
        if (context.agentType === 'child') return pause(50)
        const all = [
          context.callAgent(call).then(() => 'call'),
          context.step('short', async () => {
            await context.emitChunk('a word')
            return 'step'
          }),
        ]
        winners.push(await Promise.race(all))
        await Promise.all(all)
        if (context.attempt < 3) throw new Error('again')
      },
      { capabilities, retry: { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 10 } } },
    )
    expect(await house.client().ask(send)).toMatchObject({ status: 'COMPLETED', content: 'a word' })
    expect(winners).toEqual(['step', 'step', 'step'])
  })

  test('of a call and a step ends as a replay sees it, although the news of the answer is late', async () => {
    const house = new House()
    const winners: string[] = []
    await house.work(
      async (_, context) => {
        const answer = context.callAgent({ targetAgentType: 'child', content: 'x' }).then(() => 'call')
        const step = context.step('short', async () => {
          // The answer is recorded, but this worker has not been told.
          const fields = await house.redis.hgetall(house.keys.task('s', 'm'))
          const op = '/call:child#0'
          const result = JSON.stringify({ s: 'C', r: '"told"' })
          await house.redis.hset(fields.journal as string, { [`=${op}`]: `1 1 ${result}`, n: '1' })
          return 'step'
        })
        winners.push(await Promise.race([answer, step]))
        await context.callAgent({ targetAgentType: 'last', content: 'x' })
        return winners.at(-1)
      },
      { suspendAfterMs: 50 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_AGENT')
    await house.work(() => 'done', { capabilities: ['last'] })
    expect((await client.result({ ...send, timeoutMs: 20_000 })).data).toBe('call')
    expect(winners).toEqual(['call', 'call'])
  })
})

describe('sleep', () => {
  test('that is short takes its time, in memory, without a slot', async () => {
    const house = new House()
    let most = 0
    let asleep = 0
    await house.work(
      async (_, context) => {
        asleep += 1
        most = Math.max(most, asleep)
        await context.sleep(300)
        asleep -= 1
        return 'awake'
      },
      { maxConcurrency: 1 },
    )
    const client = house.client()
    const before = performance.now()
    const ends = await Promise.all(
      ['a', 'b', 'c'].map((messageId) => client.ask({ ...send, messageId, sessionId: messageId })),
    )
    expect(performance.now() - before).toBeGreaterThanOrEqual(290)
    expect(ends.map(({ data }) => data)).toEqual(['awake', 'awake', 'awake'])
    expect(most).toBe(3)
  })

  test('that has lost a race is over with its attempt, and keeps no process', async () => {
    const house = new House()
    const resources = new OpenResources()
    onTestFinished(() => resources.close())
    const worker = await house.work((_, context) => Promise.race([context.sleep(20_000), context.step('a', () => 'a')]))
    const client = house.client()
    expect((await client.ask(send)).data).toBe('a')
    await Promise.all([worker.stop(), client.close()])
    house.redis.disconnect()
    await waitFor(() => resources.list().every((open) => !open.includes('Timeout')))
  })

  test('that is long is suspended and ends in time', async () => {
    const house = new House()
    let runs = 0
    await house.work(
      async (_, context) => {
        runs += 1
        await context.sleep(600)
        return 'awake'
      },
      { suspendAfterMs: 50 },
    )
    const client = house.client()
    const before = performance.now()
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_AGENT')
    expect((await client.result(send)).data).toBe('awake')
    expect(performance.now() - before).toBeGreaterThanOrEqual(590)
    expect(runs).toBe(2)
  })

  test('goes on where it was when its worker is gone', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    const handle = async (_: unknown, context: AgentContext) => {
      void gate.pass()
      await context.sleep(1_000)
      return context.workerId
    }
    const first = await house.work(handle, { workerId: 'w-1' })
    await client.sendMessage(send)
    await gate.reached(1)
    await waitFor(async () => (await house.redis.hlen(house.keys.journal('s', 'm'))) === 1)
    const before = performance.now()
    await first.stop()
    await house.work(handle, { workerId: 'w-2' })
    expect((await client.result(send)).data).toBe('w-2')
    expect(performance.now() - before).toBeGreaterThan(500)
    gate.open()
  })

  test('that is short ends also where that could not be recorded at once', async () => {
    const house = new House()
    const cut = vi.spyOn(Journals.prototype, 'close').mockRejectedValueOnce(new Error('cut off'))
    onTestFinished(() => cut.mockRestore())
    await house.work((_, context) => context.sleep(50).then(() => 'awake'))
    const client = house.client()
    await client.sendMessage(send)
    expect((await client.result({ ...send, timeoutMs: 10_000 })).data).toBe('awake')
  })

  test('has passed as far as it had when its worker left', async () => {
    const house = new House()
    const client = house.client()
    const hour = 3_600_000
    const handle = async (_: unknown, context: AgentContext) => {
      await context.sleep(hour)
      return context.workerId
    }
    const first = await house.work(handle, { workerId: 'w-1', suspendAfterMs: 2 * hour, shutdownTimeoutMs: 10 })
    await client.sendMessage(send)
    const journal = house.keys.journal('s', 'm')
    await waitFor(async () => (await house.redis.hlen(journal)) === 1)
    await first.stop()
    // As if it had begun an hour ago.
    const [[op, noted]] = Object.entries(await house.redis.hgetall(journal)) as [[string, string]]
    await house.redis.hset(
      journal,
      op,
      noted.replace(/^\d+/, (at) => String(Number(at) - hour)),
    )
    await house.work(handle, { workerId: 'w-2', suspendAfterMs: 2 * hour })
    expect((await client.result({ ...send, timeoutMs: 10_000 })).data).toBe('w-2')
  })
})
