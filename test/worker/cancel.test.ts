import { once } from 'node:events'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { RetryableError } from '../../src/errors.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { openStore } from '../redis/harness.ts'
import { sized } from '../support/size.ts'
import { startChild } from './child.ts'
import { agendaOf, Gate, House } from './harness.ts'

const ref = { sessionId: 's', messageId: 'm' }
const send = { targetAgentType: 'agent', content: 'hi', ...ref }
const cancelled = (reason: string) => ({
  ...{ status: 'CANCELLED', data: null, error: { code: 'GW_CANCELLED', message: `the task was cancelled: ${reason}` } },
})
const aborted = ({ signal }: AgentContext) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
/** The task has this one end and has left nothing behind. */
async function endedOnce(house: House, end = 'CANCELLED'): Promise<void> {
  await house.settled()
  expect(await house.dones('s', 'm')).toEqual([
    expect.objectContaining({ data: expect.objectContaining({ status: end }) }),
  ])
  expect(await agendaOf(house)).toEqual([])
  await waitFor(async () => (await house.redis.pttl(house.keys.task('s', 'm'))) > 0)
}

describe('a running task that is cancelled', () => {
  test.each([
    ['returns', () => 'whatever'],
    ['throws the reason', (context: AgentContext) => context.throwIfCancelled()],
    [
      'throws what asks for another attempt',
      () => {
        throw new RetryableError('again', { delayMs: 1 })
      },
    ],
  ])('hears of it, and ends as CANCELLED although its handler %s', async (_name, leave) => {
    const house = new House()
    const gate = new Gate()
    let reason: unknown
    await house.work(
      async (_command, context) => {
        void gate.pass()
        await context.emitChunk('half')
        await aborted(context)
        reason = context.signal.reason
        await context.emitState('tidying up')
        return leave(context)
      },
      { retry: { maxAttempts: 5 } },
    )
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    expect(await client.cancelTask({ ...ref, reason: 'user left', requestedBy: 'me' })).toEqual({
      ...{ success: true, status: 'CANCEL_REQUESTED' },
    })
    expect(await client.result(ref)).toMatchObject({ ...cancelled('user left'), content: '' })
    expect(reason).toMatchObject({ code: 'GW_CANCELLED', details: { reason: 'user left', requestedBy: 'me' } })
    await endedOnce(house)
    expect((await house.events('s')).map(({ event_type }) => event_type)).toEqual(['chunk', 'state', 'done'])
    expect(await house.redis.exists(house.keys.dead('agent'))).toBe(0)
  })

  test('and does not listen ends as CANCELLED when its handler ends, and not sooner', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(() => gate.pass().then(() => 'deaf'))
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCEL_REQUESTED' })
    expect(await client.cancelTask({ ...ref, reason: 'later' })).toMatchObject({ status: 'CANCEL_REQUESTED' })
    expect(await client.getTask(ref)).toMatchObject({ status: 'RUNNING' })
    gate.open()
    expect(await client.result(ref)).toMatchObject(cancelled('no reason given'))
    await endedOnce(house)
  })

  test('and does not come to an end in the time it is given ends without its handler', async () => {
    const house = new House()
    const gate = new Gate()
    const refused: unknown[] = []
    await house.work(
      async (_command, context) => {
        await gate.pass()
        await context.emitChunk('late').catch((error: unknown) => refused.push(error))
      },
      { cancelGraceMs: 200, maxConcurrency: 1 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    const before = performance.now()
    expect(await client.cancelTask({ ...ref, reason: 'enough' })).toEqual({ success: true, status: 'CANCEL_REQUESTED' })
    expect(await client.result({ ...ref, timeoutMs: 5_000 })).toMatchObject(cancelled('enough'))
    expect(performance.now() - before).toBeGreaterThan(190)
    await endedOnce(house)
    // Its slot is free: the next one starts, and what the first says then is refused.
    await client.sendMessage({ ...send, messageId: 'next' })
    await gate.reached(2)
    gate.open()
    expect(await client.result({ ...ref, messageId: 'next' })).toMatchObject({ status: 'COMPLETED' })
    expect(refused).toEqual([expect.objectContaining({ code: 'GW_CLOSED' })])
  })

  test('by force ends at once, frees its slot, and whatever its handler still says is refused', async () => {
    const house = new House()
    const gate = new Gate()
    const late = deferred<unknown>()
    let reason: unknown
    const worker = await house.work(
      async (command, context) => {
        if (command.content !== 'hi') return 'next'
        context.signal.addEventListener('abort', () => {
          reason = context.signal.reason
        })
        await gate.pass()
        late.resolve(await context.emitChunk('zombie').catch((error: unknown) => error))
        return 'deaf'
      },
      { maxConcurrency: 1 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    expect(await client.cancelTask({ ...ref, reason: 'now', mode: 'force' })).toEqual({
      ...{ success: true, status: 'CANCELLED' },
    })
    expect(await client.result(ref)).toMatchObject(cancelled('now'))
    const next = { targetAgentType: 'agent', sessionId: 's-2', content: 'next' }
    expect(await client.ask(next)).toMatchObject({ data: 'next' })
    expect(reason).toMatchObject({ code: 'GW_CANCELLED', details: { reason: 'now' } })
    gate.open()
    expect(await late.promise).toMatchObject({ code: 'GW_LEASE_LOST' })
    await endedOnce(house)
    expect((await house.events('s')).map(({ event_type }) => event_type)).toEqual(['done'])
    expect(worker.running).toBe(0)
  })

  test('gracefully, and then by force', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(() => gate.pass())
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    expect(await client.cancelTask({ ...ref, reason: 'please' })).toMatchObject({ status: 'CANCEL_REQUESTED' })
    expect(await client.cancelTask({ ...ref, reason: 'now', mode: 'force' })).toMatchObject({ status: 'CANCELLED' })
    expect(await client.cancelTask(ref)).toEqual({ success: false, status: 'ALREADY_FINISHED' })
    expect(await client.result(ref)).toMatchObject(cancelled('now'))
    await endedOnce(house)
    gate.open()
  })
})

describe('a task that nobody runs', () => {
  test('and that is queued ends at once, and never starts', async () => {
    const house = new House()
    const client = house.client()
    await client.sendMessage(send)
    expect(await client.cancelTask({ ...ref, reason: 'r' })).toEqual({ success: true, status: 'CANCELLED' })
    expect(await client.result(ref)).toMatchObject(cancelled('r'))
    let runs = 0
    await house.work(() => (runs += 1))
    await endedOnce(house)
    expect(runs).toBe(0)
  })

  test.each(['graceful', 'force'] as const)(
    'never starts (%s), however late the worker comes: its record waits for its entry',
    async (mode) => {
      const house = new House()
      const client = house.client({ resultTtlMs: 1 })
      await client.sendMessage(send)
      await client.sendMessage({ ...send, messageId: 'expired', expiresInMs: 1 })
      await house.work(() => null, { capabilities: ['other'], resultTtlMs: 1 })
      await client.cancelTask({ ...ref, mode })
      await waitFor(async () => (await house.dones('s', 'expired')).length === 1)
      let runs = 0
      await house.work(() => (runs += 1), { resultTtlMs: 1 })
      await house.settled()
      expect(runs).toBe(0)
      await waitFor(async () => (await house.redis.exists(house.keys.task('s', 'm'))) === 0)
      await waitFor(async () => (await house.redis.exists(house.keys.task('s', 'expired'))) === 0)
      expect(await house.dones('s', 'm')).toHaveLength(1)
    },
  )

  test('because it waits for another attempt, ends at once, and leaves the agenda', async () => {
    const house = new House()
    let runs = 0
    await house.work(
      () => {
        runs += 1
        throw new Error('boom')
      },
      { retry: { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 600_000 } } },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(
      async () => (await client.getTask(ref))?.status === 'RETRYING' && (await agendaOf(house)).length === 1,
    )
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    await endedOnce(house)
    expect(runs).toBe(1)
  })

  test.each(['graceful', 'force'] as const)(
    'because its worker died, ends (%s), and does not run again',
    async (mode) => {
      const house = new House()
      const { child, said } = await startChild(house, 'w-1', 500)
      const client = house.client()
      await client.sendMessage({ ...send, content: 'hang' })
      await waitFor(() => said.includes('began hang'))
      child.kill('SIGKILL')
      await once(child, 'exit')
      expect(await client.cancelTask({ ...ref, reason: 'r', mode })).toEqual({
        ...{ success: true, status: mode === 'force' ? 'CANCELLED' : 'CANCEL_REQUESTED' },
      })
      let runs = 0
      await house.work(() => (runs += 1), { leaseMs: 300 })
      expect(await client.result({ ...ref, timeoutMs: 15_000 })).toMatchObject(cancelled('r'))
      await endedOnce(house)
      expect(runs).toBe(0)
    },
  )
})

describe('a worker that misses the wake-up', () => {
  test('because it was frozen finds the cancel by itself', async () => {
    const house = new House()
    const { child, said } = await startChild(house, 'w-1', 2_000)
    const client = house.client()
    await client.sendMessage({ ...send, content: 'listen' })
    await waitFor(() => said.includes('began listen'))
    child.kill('SIGSTOP')
    expect(await client.cancelTask({ ...ref, reason: 'r' })).toMatchObject({ status: 'CANCEL_REQUESTED' })
    expect(await house.redis.del(house.keys.inbox('w-1'))).toBe(1)
    child.kill('SIGCONT')
    expect(await client.result({ ...ref, timeoutMs: 15_000 })).toMatchObject(cancelled('r'))
    await waitFor(() => said.some((line) => line.startsWith('aborted m GW_CANCELLED')))
    await endedOnce(house)
  })

  test('or gets one that names no attempt of its own looks for itself, and believes the record only', async () => {
    const house = new House()
    const gate = new Gate()
    const reasons: unknown[] = []
    await house.work(
      (_command, context) => {
        context.signal.addEventListener('abort', () => reasons.push(context.signal.reason.code))
        return gate.pass()
      },
      { workerId: 'w', leaseMs: 60_000 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await client.sendMessage({ ...send, messageId: 'other' })
    await gate.reached(2)
    const { redis } = openStore()
    const records = new TaskRecords(redis, house.keys)
    await records.requestCancel(ref, { reason: 'r', requestedBy: '' })
    const wake = (target: string) => {
      const header = { message_id: 'x', session_id: 's', trace_id: 't' }
      const body = { target_message_id: target, cancel_mode: 'force' }
      const data = JSON.stringify({ action_type: 'CANCEL_TASK', header, body })
      return house.redis.xadd(house.keys.inbox('w'), '*', 'data', data)
    }
    await wake('other')
    await waitFor(() => reasons.length > 0)
    expect(reasons).toEqual(['GW_CANCELLED'])
    gate.open()
    expect(await client.result(ref)).toMatchObject({ status: 'CANCELLED' })
    expect(await client.result({ sessionId: 's', messageId: 'other' })).toMatchObject({ status: 'COMPLETED' })
  })
})

describe('a waiting task that is cancelled', () => {
  test.each([
    ['for its answer', false],
    ['for a slot to go on with the answer that it has', true],
  ])('while it waits %s, and others have all slots, hears of it at once', async (_what, isAnswered) => {
    const house = new House()
    const gate = new Gate()
    let heard: unknown
    const worker = await house.work(
      async (command, context) => {
        if (command.content === 'long') return gate.pass()
        await context.askUser('which?').catch((error: unknown) => {
          heard = error
        })
        context.throwIfCancelled()
      },
      { maxConcurrency: 1 },
    )
    const client = house.client()
    await client.sendMessage(send)
    const [ask] = await waitFor(async () => {
      const asks = await client.pendingAsks('s')
      return asks.length > 0 && asks
    })
    await client.sendMessage({ ...send, messageId: 'long', content: 'long' })
    await gate.reached(1)
    if (isAnswered) {
      expect(await client.reply({ ...ref, askId: ask?.askId ?? '', content: 'this' })).toMatchObject({ success: true })
      await pause(50)
    }
    await client.cancelTask({ ...ref, reason: 'enough' })
    expect(await client.result({ ...ref, timeoutMs: 2_000 })).toMatchObject(cancelled('enough'))
    expect(heard).toEqual(isAnswered ? undefined : expect.objectContaining({ code: 'GW_CANCELLED' }))
    expect(worker.running).toBe(1)
    gate.open()
    await house.settled()
    expect(worker.running).toBe(0)
  })
})

test('a cancel reaches a handler in another process soon', async () => {
  const house = new House()
  const { said } = await startChild(house, 'w-1')
  const client = house.client()
  const waits: number[] = []
  for (let round = 0; round < 10; round += 1) {
    const ids = Array.from({ length: 10 }, (_, i) => `m-${round}-${i}`)
    for (const messageId of ids) await client.sendMessage({ ...send, messageId, content: 'listen' })
    const begun = () => said.filter((line) => line === 'began listen').length
    await waitFor(() => begun() === (round + 1) * ids.length)
    for (const messageId of ids) {
      const before = performance.timeOrigin + performance.now()
      expect(await client.cancelTask({ sessionId: 's', messageId })).toMatchObject({ status: 'CANCEL_REQUESTED' })
      const line = await waitFor(() => said.find((text) => text.startsWith(`aborted ${messageId} `)))
      waits.push(Number(line.split(' ')[3]) - before)
    }
  }
  waits.sort((a, b) => a - b)
  expect(waits).toHaveLength(100)
  expect(waits[98]).toBeLessThan(1_000)
}, 60_000)

describe('an attempt that lost its task', () => {
  test('hears of it although it says nothing, and nothing it says from then on counts', async () => {
    const house = new House()
    const tokens: number[] = []
    const lost = deferred<AgentContext>()
    await house.work(
      async (_command, context) => {
        tokens.push(context.fencingToken)
        if (tokens.length > 1) return 'second'
        await aborted(context)
        lost.resolve(context)
        await new Promise(() => undefined)
      },
      { workerId: 'w', leaseMs: 400, retry: { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 1 } } },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(() => tokens.length === 1)
    const entryId = (await house.redis.hget(house.keys.task('s', 'm'), 'fence'))?.split(':')[2] as string
    const { redis } = openStore()
    await new TaskRecords(redis, house.keys).begin('thief', [{ ...ref, entryId, turn: '' }])
    const context = await lost.promise
    expect(context.signal.reason).toMatchObject({ code: 'GW_LEASE_LOST' })
    await expect(context.emitChunk('zombie')).rejects.toMatchObject({ code: 'GW_LEASE_LOST' })
    // The thief is never heard of again, so the entry comes back, to run as a takeover and not as another attempt.
    expect(await client.result({ ...ref, timeoutMs: 15_000 })).toMatchObject({
      ...{ status: 'COMPLETED', data: 'second', attempts: 1 },
    })
    expect(tokens).toEqual([1, 3])
    await endedOnce(house, 'COMPLETED')
    expect((await house.events('s')).map(({ event_type }) => event_type)).toEqual(['done'])
  })

  test.each([
    ['ends', () => 'mine'],
    [
      'fails, and is to be tried again',
      () => {
        throw new Error('boom')
      },
    ],
  ])('in silence, and %s, leaves the task to its owner, and the entry, too', async (_name, leave) => {
    const house = new House()
    const gate = new Gate()
    await house.work(() => gate.pass().then(leave), {
      ...{ workerId: 'w', leaseMs: 60_000, retry: { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 1 } } },
    })
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    const entryId = (await house.redis.hget(house.keys.task('s', 'm'), 'fence'))?.split(':')[2] as string
    const { redis } = openStore()
    await new TaskRecords(redis, house.keys).begin('owner', [{ ...ref, entryId, turn: '' }])
    // The owner has taken over the entry as well.
    await house.redis.xclaim(house.keys.control('agent'), 'agent_engines', 'owner', 0, entryId)
    gate.open()
    await waitFor(() => house.logger.lines.some(({ message }) => /not recorded by this worker/.test(message)))
    expect(await house.redis.hget(house.keys.task('s', 'm'), 'fence')).toBe(`R:2:${entryId}:owner`)
    expect([await house.events('s'), await agendaOf(house), await house.pending()]).toEqual([[], [], 1])
    const [[, consumer, idle]] = (await house.redis.xpending(
      ...([house.keys.control('agent'), 'agent_engines', '-', '+', 10] as const),
    )) as [[string, string, number]]
    expect([consumer, idle < 60_000]).toEqual(['owner', true])
  })
})

test('thousands of races of send, cancel and finish: no task ends otherwise than its acknowledgement said', async () => {
  const house = new House()
  const retry = { maxAttempts: 2, backoff: { type: 'fixed' as const, delayMs: 5 } }
  const chance = random(7)
  const handle = async (_command: unknown, context: AgentContext) => {
    const turns = Math.floor(chance() * 4)
    for (let i = 0; i < turns; i += 1) await turn()
    if (chance() < 0.3) void context.emitChunk('x')
    if (chance() < 0.2) throw new Error('boom')
    if (chance() < 0.2) await Promise.race([aborted(context), new Promise((resolve) => setTimeout(resolve, 20))])
    return 1
  }
  await Promise.all(['w-1', 'w-2'].map((workerId) => house.work(handle, { workerId, maxConcurrency: 100, retry })))
  const [sender, canceller] = [house.client(), house.client()]
  const COUNT = sized({ short: 2_500, long: 10_000 })
  const acks = new Map<number, string>()
  const seen = new Map<number, string | undefined>()
  // Each cancel looks at all tasks of its session.
  const SESSIONS = COUNT / 20
  const session = (i: number) => `s-${i % SESSIONS}`
  let next = 0
  const race = async () => {
    for (let i = next++; i < COUNT; i = next++) {
      const messageId = `m-${i}`
      const delayMs = chance() < 0.1 ? 5 : undefined
      const sent = sender.sendMessage({
        targetAgentType: 'agent',
        sessionId: session(i),
        messageId,
        content: 'x',
        ...(delayMs && { delayMs }),
      })
      if (chance() < 0.9) await sent
      const turns = Math.floor(chance() * 12)
      for (let k = 0; k < turns; k += 1) await turn()
      const mode = chance() < 0.5 ? 'force' : 'graceful'
      const { status } = await canceller.cancelTask({ sessionId: session(i), messageId, mode })
      acks.set(i, status)
      if (status === 'ALREADY_FINISHED')
        seen.set(i, (await canceller.getTask({ sessionId: session(i), messageId }))?.status)
      await sent
    }
  }
  await Promise.all(Array.from({ length: 150 }, race))
  const dones = new Map<string, string[]>()
  const wrong: unknown[] = []
  const all = Array.from({ length: COUNT }, (_, i) => i)
  const statuses: string[] = []
  for (let from = 0; from < COUNT; from += 500) {
    const ends = all
      .slice(from, from + 500)
      .map((i) => sender.result({ sessionId: session(i), messageId: `m-${i}`, timeoutMs: 30_000 }))
    for (const { status } of await Promise.all(ends)) statuses.push(status)
  }
  for (const [i, status] of statuses.entries()) {
    const ack = acks.get(i)
    const promised = ack === 'CANCELLED' || ack === 'CANCEL_REQUESTED' ? 'CANCELLED' : (seen.get(i) ?? status)
    if (status !== promised) wrong.push({ i, ack, status, promised })
  }
  expect(wrong).toEqual([])
  for (let s = 0; s < SESSIONS; s += 1) {
    for (const event of await house.events(`s-${s}`)) {
      if (event.event_type !== 'done') continue
      dones.set(event.message_id, [...(dones.get(event.message_id) ?? []), (event.data as { status: string }).status])
    }
  }
  expect([...dones].filter(([, statuses]) => statuses.length !== 1)).toEqual([])
  expect(dones.size).toBe(COUNT)
  const counts = [...acks.values()].reduce<Record<string, number>>((all, ack) => {
    all[ack] = (all[ack] ?? 0) + 1
    return all
  }, {})
  // All kinds of answers were met, or it was no race.
  for (const ack of ['CANCELLED', 'CANCEL_REQUESTED', 'ALREADY_FINISHED'])
    expect(counts[ack]).toBeGreaterThan(COUNT / 200)
  await house.settled()
  await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
}, 180_000)

/** Numbers from 0 to 1 that come again with the same seed. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}
