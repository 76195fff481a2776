import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { Agenda } from '../../src/store/agenda.ts'
import { InboxWriter } from '../../src/store/inbox.ts'
import { type Stage, Stages } from '../../src/store/stages.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Promoter } from '../../src/worker/promoter.ts'
import { connect, openStore } from '../redis/harness.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { startChild } from './child.ts'
import { agendaOf, Gate, House, memoryLogger } from './harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }
const ref = { sessionId: 's', messageId: 'm' }
/** A worker that has nothing to do but to keep the agenda. */
const keep = (house: House, workerId = 'keeper') => house.work(() => null, { workerId, capabilities: ['other'] })
/** The envelopes on a control stream, with the time of their entries. */
async function promoted(house: House): Promise<{ at: number; messageId: string }[]> {
  const entries = await house.redis.xrange(house.keys.control('agent'), '-', '+')
  return entries.map(([id, fields]) => ({
    at: Number(id.split('-')[0]),
    messageId: JSON.parse(fields[1] as string).header.message_id,
  }))
}

describe('a delayed task', () => {
  test('waits as DELAYED, starts no sooner than it should, and then as any other', async () => {
    const house = new House()
    await house.work((_command, { attempt }) => attempt)
    const client = house.client()
    expect(await client.sendMessage({ ...send, delayMs: 300 })).toMatchObject({ success: true, status: 'QUEUED' })
    const waiting = await client.getTask(ref)
    expect(waiting).toMatchObject({ status: 'DELAYED', attempt: 0, startedAt: null })
    expect(Number(waiting?.dueAt) - Number(waiting?.createdAt)).toBe(300)
    expect(await client.result(ref)).toMatchObject({ status: 'COMPLETED', data: 1, attempts: 1 })
    const ended = await client.getTask(ref)
    expect(Number(ended?.startedAt)).toBeGreaterThanOrEqual(Number(waiting?.dueAt))
    expect(ended?.dueAt).toBeNull()
    await house.settled()
    expect(await agendaOf(house)).toEqual([])
  })

  test('without a delay is none', async () => {
    const house = new House()
    await house.client().sendMessage({ ...send, delayMs: 0 })
    expect([await house.waiting(), await agendaOf(house)]).toEqual([1, []])
  })

  test('comes to its stream in the order of the due times, whatever the order of the sends', async () => {
    const house = new House()
    const client = house.client()
    const delays = [400, 100, 300, 0.5, 200]
    for (const delayMs of delays) await client.sendMessage({ ...send, messageId: `m-${delayMs}`, delayMs })
    await keep(house)
    await waitFor(async () => (await house.waiting()) === delays.length)
    expect((await promoted(house)).map(({ messageId }) => messageId)).toEqual([
      ...['m-0.5', 'm-100', 'm-200', 'm-300', 'm-400'],
    ])
  })

  test('of which there are ten thousand at once comes once, none too early', async () => {
    const warnings: string[] = []
    const onWarning = ({ message }: Error) => void warnings.push(message)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))
    const house = new House()
    await keep(house)
    const client = house.client()
    const dueAt = Date.now() + 3_000
    const count = 10_000
    await Promise.all(
      Array.from({ length: count }, (_, i) =>
        client.sendMessage({
          ...send,
          sessionId: `s-${i % 100}`,
          messageId: `m-${i}`,
          delayMs: Math.max(dueAt - Date.now(), 1),
        }),
      ),
    )
    await waitFor(async () => (await house.waiting()) >= count, { timeoutMs: 15_000 })
    await waitFor(async () => (await agendaOf(house)).length === 0)
    const entries = await promoted(house)
    expect(new Set(entries.map(({ messageId }) => messageId)).size).toBe(count)
    expect(entries).toHaveLength(count)
    const early = await Promise.all(
      entries.map(async ({ at, messageId }) => {
        const due = await house.redis.hget(
          house.keys.task(`s-${Number(messageId.slice(2)) % 100}`, messageId),
          'due_at',
        )
        return at < Number(due)
      }),
    )
    expect(early.filter(Boolean)).toHaveLength(0)
    expect(warnings).toEqual([])
  }, 60_000)

  test.each(['layDown', 'open'] as const)(
    'of which there are many at once comes once where it cannot be laid down beside its stream, or that is gone (%s)',
    async (which) => {
      const house = new House()
      const { open } = Stages.prototype
      const lost = vi.spyOn(Stages.prototype, which)
      onTestFinished(() => lost.mockRestore())
      if (which === 'layDown') lost.mockRejectedValue(new Error('no room'))
      else {
        lost.mockImplementation(async function (this: Stages, stage: unknown) {
          await house.redis.del((stage as Stage).key)
          return open.call(this, stage as Stage)
        } as never)
      }
      await keep(house)
      const client = house.client()
      const ids = Array.from({ length: 300 }, (_, i) => `m-${i}`)
      await Promise.all(ids.map((messageId) => client.sendMessage({ ...send, messageId, delayMs: 1_500 })))
      await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
      expect((await promoted(house)).map(({ messageId }) => messageId).toSorted()).toEqual(ids.toSorted())
      expect(lost).toHaveBeenCalled()
    },
  )

  test('that is sent twice runs once', async () => {
    const house = new House()
    let runs = 0
    await house.work(() => {
      runs += 1
    })
    const client = house.client()
    await client.sendMessage({ ...send, delayMs: 100 })
    await client.sendMessage({ ...send, delayMs: 50 })
    await client.sendMessage(send)
    await client.result(ref)
    await client.sendMessage({ ...send, delayMs: 1 })
    await waitFor(async () => (await agendaOf(house)).length === 0)
    await house.settled()
    expect([runs, (await house.dones('s', 'm')).length]).toEqual([1, 1])
  })

  test('that is sent again when it has begun, or has its end, is no dead letter when its record is gone', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(() => gate.pass())
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    expect(await client.sendMessage({ ...send, delayMs: 1_000 })).toMatchObject({ status: 'QUEUED' })
    gate.open()
    await client.result(ref)
    expect(await client.sendMessage({ ...send, delayMs: 1_000 })).toMatchObject({ status: 'QUEUED' })
    // Its time is over.
    await house.redis.del(house.keys.task('s', 'm'))
    await waitFor(async () => (await agendaOf(house)).length === 0)
    await house.settled()
    expect([gate.arrived, await client.listDeadLetters()]).toEqual([1, []])
  })

  test('that is cancelled leaves nothing behind', async () => {
    const house = new House()
    await house.work(() => {
      throw new Error('must not run')
    })
    const client = house.client()
    await client.sendMessage({ ...send, delayMs: 600_000, expiresInMs: 700_000 })
    expect((await agendaOf(house)).sort()).toEqual(['expiry 0 s m', 'ready 0 s m'])
    expect(await client.cancelTask(ref)).toEqual({ success: true, status: 'CANCELLED' })
    expect(await client.result(ref)).toMatchObject({ status: 'CANCELLED' })
    expect([await agendaOf(house), await house.waiting()]).toEqual([[], 0])
    expect(await house.redis.pttl(house.keys.task('s', 'm'))).toBeGreaterThan(0)
  })

  test('that is cancelled by one who dies on the way, and would have expired, goes in its time', async () => {
    const house = new House()
    const client = house.client()
    await client.sendMessage({ ...send, delayMs: 600_000, expiresInMs: 100 })
    const cut = vi.spyOn(Agenda.prototype, 'cancel').mockRejectedValueOnce(new Error('cut off'))
    onTestFinished(() => cut.mockRestore())
    expect(await client.cancelTask(ref)).toEqual({ success: true, status: 'CANCELLED' })
    expect((await agendaOf(house)).sort()).toEqual(['expiry 0 s m', 'ready 0 s m'])
    await keep(house)
    await waitFor(async () => (await agendaOf(house)).length === 0)
    expect(await client.getTask(ref)).toMatchObject({ status: 'CANCELLED' })
    expect(await house.redis.pttl(house.keys.task('s', 'm'))).toBeGreaterThan(0)
  })
})

describe.concurrent('a delayed task in the hands of the keeper', () => {
  test('comes in time when the keeper stops, by the one that follows', async () => {
    const house = new House()
    const first = await keep(house, 'first')
    const client = house.client()
    // All along, so that the keeper leaves with some of them in its hands.
    const ids = Array.from({ length: 40 }, (_, i) => `m-${i}`)
    await Promise.all(ids.map((messageId, i) => client.sendMessage({ ...send, messageId, delayMs: 100 + i * 50 })))
    await keep(house, 'second')
    await first.stop()
    await waitFor(async () => (await house.waiting()) >= ids.length, { timeoutMs: 15_000 })
    await waitFor(async () => (await agendaOf(house)).length === 0)
    const entries = await promoted(house)
    expect(entries.map(({ messageId }) => messageId).sort()).toEqual(ids.toSorted())
    for (const { at, messageId } of entries) {
      expect(at).toBeGreaterThanOrEqual(Number(await house.redis.hget(house.keys.task('s', messageId), 'due_at')))
    }
  })

  test('comes once, and not too soon, by another when the keeper is killed with a crowd laid down beside its stream', async () => {
    const house = new House()
    const { child } = await startChild(house, 'keeper', 1_000)
    const client = house.client()
    const ids = Array.from({ length: 400 }, (_, i) => `m-${i}`)
    await Promise.all(ids.map((messageId) => client.sendMessage({ ...send, messageId, delayMs: 2_500 })))
    const stages = () => house.redis.keys(`${house.prefix}:stage:*`)
    await waitFor(async () => (await stages()).length > 0, { timeoutMs: 10_000, message: 'a stage to be laid down' })
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(await house.waiting()).toBe(0)
    const runs: string[] = []
    await house.work(({ header }) => runs.push(header.messageId), { leaseMs: 1_000 })
    for (const messageId of ids) await client.result({ sessionId: 's', messageId })
    expect(runs.toSorted()).toEqual(ids.toSorted())
    for (const messageId of ids) {
      const task = await client.getTask({ sessionId: 's', messageId })
      expect(Number(task?.startedAt)).toBeGreaterThanOrEqual(Number(task?.dueAt))
    }
    await waitFor(async () => (await stages()).length + (await agendaOf(house)).length === 0, { timeoutMs: 30_000 })
  })

  test('that is cancelled meanwhile never starts, and has one end', async () => {
    const house = new House()
    let runs = 0
    await house.work(() => (runs += 1))
    const client = house.client()
    const taken = async () => {
      const scores = await Promise.all(
        [0, 1, 2, 3].map((n) => house.redis.zscore(house.keys.agenda(n).due, 'ready 0 s m')),
      )
      return Number(scores.find((score) => score !== null) ?? 0)
    }
    await client.sendMessage({ ...send, delayMs: 450 })
    const due = Number(await house.redis.hget(house.keys.task('s', 'm'), 'due_at'))
    await waitFor(async () => (await taken()) > due || (await client.getTask(ref))?.status !== 'DELAYED')
    const { status } = await client.cancelTask(ref)
    await client.result(ref)
    await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
    await house.settled()
    // On a machine so slow that the task had started by then there is nothing to be seen but its one end.
    if (status === 'CANCELLED') expect(runs).toBe(0)
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })
})

describe.concurrent('a task that has its end before its entry is taken, and a short memory', () => {
  /** Nothing ran, nothing is a dead letter, and in the end there is nothing left of it but its words. */
  async function goneFor(house: House, runs: () => number, before: number): Promise<void> {
    await house.settled()
    await waitFor(async () => (await house.redis.exists(house.keys.task('s', 'm'))) === 0)
    expect(runs()).toBe(before)
    expect(await house.redis.exists(house.keys.dead('agent'))).toBe(0)
    await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
    expect(await house.dones('s', 'm')).toHaveLength(1)
  }

  test('was delayed and is cancelled when it lies in a backlog: it never runs, nor is it a dead letter', async () => {
    const house = new House()
    await keep(house)
    const client = house.client({ resultTtlMs: 1 })
    await client.sendMessage({ ...send, delayMs: 20 })
    await waitFor(async () => (await house.waiting()) === 1)
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    await pause(50)
    let runs = 0
    await house.work(() => (runs += 1), { resultTtlMs: 1 })
    await goneFor(house, () => runs, 0)
  })

  test('waits for another attempt and is cancelled when that lies in a backlog: the same', async () => {
    const house = new House()
    let runs = 0
    const fail = () => {
      runs += 1
      throw new Error('boom')
    }
    const retry = { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 300 } } as const
    const first = await house.work(fail, { retry })
    const client = house.client({ resultTtlMs: 1 })
    await client.sendMessage(send)
    await waitFor(async () => (await agendaOf(house)).length === 1)
    await first.stop()
    await keep(house)
    await waitFor(async () => (await house.waiting()) === 1)
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    await pause(50)
    await house.work(fail, { resultTtlMs: 1 })
    await goneFor(house, () => runs, 1)
  })

  test('is cancelled when the keeper has it in hand: the same', async () => {
    const house = new House()
    await keep(house)
    const client = house.client({ resultTtlMs: 1 })
    await client.sendMessage({ ...send, delayMs: 450 })
    await waitFor(async () => {
      const scores = [0, 1, 2, 3].map((n) => house.redis.zscore(house.keys.agenda(n).due, 'ready 0 s m'))
      return (await Promise.all(scores)).some((score) => Number(score) % 1 > 0)
    })
    await client.cancelTask(ref)
    await waitFor(async () => (await house.waiting()) === 1)
    let runs = 0
    await house.work(() => (runs += 1), { resultTtlMs: 1 })
    await goneFor(house, () => runs, 0)
  })

  test('expires while it is delayed: nothing is put on its stream', async () => {
    const house = new House()
    let runs = 0
    await house.work(() => (runs += 1), { resultTtlMs: 1 })
    const client = house.client({ resultTtlMs: 1 })
    await client.sendMessage({ ...send, delayMs: 800, expiresInMs: 20 })
    await waitFor(async () => (await house.dones('s', 'm')).length === 1)
    await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
    await pause(900)
    await goneFor(house, () => runs, 0)
  })

  test('was sent for a cancelled one, delayed: its record goes in its time', async () => {
    const house = new House()
    const client = house.client()
    await client.sendMessage({ ...send, messageId: 'above' })
    await client.cancelTask({ sessionId: 's', messageId: 'above' })
    await client.sendMessage({ ...send, parentMessageId: 'above', delayMs: 60_000 })
    expect(await client.getTask(ref)).toMatchObject({ status: 'CANCELLED' })
    expect(await agendaOf(house)).toEqual([])
    expect(await house.redis.pttl(house.keys.task('s', 'm'))).toBeGreaterThan(0)
  })
})

describe.concurrent('a task that expires', () => {
  const expired = { status: 'EXPIRED', error: { code: 'GW_EXPIRED' }, data: null }

  test('ends without a worker that could have run it', async () => {
    const house = new House()
    await keep(house)
    const client = house.client()
    await client.sendMessage({ ...send, expiresInMs: 50 })
    expect(await client.result(ref)).toMatchObject(expired)
    expect(await house.dones('s', 'm')).toHaveLength(1)
    expect(await client.getTask(ref)).toMatchObject({ status: 'EXPIRED', startedAt: null, attempt: 0 })
    let runs = 0
    await house.work(() => (runs += 1))
    await house.settled()
    expect([runs, (await house.dones('s', 'm')).length, await agendaOf(house)]).toEqual([0, 1, []])
  })

  test('does not run when a worker comes too late, whoever sees it first', async () => {
    const house = new House()
    const client = house.client()
    for (let i = 0; i < 50; i += 1) await client.sendMessage({ ...send, messageId: `m-${i}`, expiresInMs: 1 })
    await pause(20)
    let runs = 0
    await house.work(() => (runs += 1))
    for (let i = 0; i < 50; i += 1) {
      expect(await client.result({ sessionId: 's', messageId: `m-${i}` })).toMatchObject(expired)
      expect(await house.dones('s', `m-${i}`)).toHaveLength(1)
    }
    await house.settled()
    expect(runs).toBe(0)
  })

  test('while it is delayed never starts', async () => {
    const house = new House()
    let runs = 0
    await house.work(() => (runs += 1))
    const client = house.client()
    await client.sendMessage({ ...send, delayMs: 200, expiresInMs: 50 })
    expect(await client.result(ref)).toMatchObject(expired)
    await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 15_000 })
    await house.settled()
    expect(runs).toBe(0)
  })

  test('after it has started does not expire any more, neither running nor waiting for another attempt', async () => {
    const house = new House()
    await house.work(
      async (_command, { attempt }) => {
        if (attempt > 1) return attempt
        await waitFor(async () => Number((await agendaOf(house)).length) === 0) // the expiry has come, and was struck out
        throw new Error('boom')
      },
      { retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 20 } } },
    )
    const client = house.client()
    await client.sendMessage({ ...send, expiresInMs: 500 })
    expect(await client.result(ref)).toMatchObject({ status: 'COMPLETED', data: 2 })
  })

  test('after it has started does not expire either where that is noted by a sender who was slower', async () => {
    const house = new House()
    await house.work(
      (_command, { attempt }) => {
        if (attempt > 1) return attempt
        throw new Error('boom')
      },
      { retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 1_500 } } },
    )
    const client = house.client()
    await client.sendMessage({ ...send, expiresInMs: 500 })
    await waitFor(async () => (await client.getTask(ref))?.status === 'RETRYING')
    const redis = connect(house.url).client('patient')
    const item = { kind: 'expiry', ...ref, priority: 'normal' } as const
    await new InboxWriter(redis, house.keys).wakeKeepers(
      await new Agenda(redis, house.keys).add([{ item, delayMs: 0 }]),
    )
    await waitFor(async () => (await agendaOf(house)).every((member) => !member.startsWith('expiry')))
    expect(await client.result(ref)).toMatchObject({ status: 'COMPLETED', data: 2 })
  })
})

describe.concurrent('the keeper of the agenda', () => {
  test('is woken when something is due earlier than it knows', async () => {
    const house = new House()
    await keep(house)
    const client = house.client()
    await waitFor(
      async () => Number(await house.redis.exists(...[0, 1, 2, 3].map((n) => house.keys.agenda(n).keeper))) === 4,
    )
    await client.sendMessage({ ...send, delayMs: 200 })
    const inbox = await house.redis.xrange(house.keys.inbox('keeper'), '-', '+')
    expect(inbox.map(([, fields]) => fields.slice(2))).toEqual([['wake', 'agenda']])
    await waitFor(async () => (await house.waiting()) === 1)
  })

  test('looks again when it is woken in the middle of a look', async () => {
    const { redis, keys } = openStore()
    let looks = 0
    class Woken extends Agenda {
      override async take(...asked: Parameters<Agenda['take']>) {
        const taken = await super.take(...asked)
        looks += 1
        if (looks === 1) promoter.wake()
        return { ...taken, pauseMs: 60_000 }
      }
    }
    const agenda = new Woken(redis, keys)
    const promoter = new Promoter({ agenda, workerId: 'w', logger: memoryLogger() } as never)
    onTestFinished(() => promoter.stop())
    await promoter.start()
    await waitFor(() => looks > agenda.shards.length)
  })

  test('that dies is followed by another', async () => {
    const house = new House()
    const { child } = await startChild(house, 'w-1', 500)
    await waitFor(async () => (await house.redis.hget(house.keys.agenda(0).keeper, 'id')) === 'w-1')
    await house.work((_command, { workerId }) => workerId, { workerId: 'w-2' })
    child.kill('SIGKILL')
    await once(child, 'exit')
    const client = house.client()
    await client.sendMessage({ ...send, delayMs: 50 })
    expect(await client.result({ ...ref, timeoutMs: 15_000 })).toMatchObject({ status: 'COMPLETED', data: 'w-2' })
  })

  test('that is frozen is followed by another, and does no harm when it wakes up', async () => {
    const house = new House()
    const { child } = await startChild(house, 'w-1', 1_000)
    await waitFor(async () => (await house.redis.hget(house.keys.agenda(0).keeper, 'id')) === 'w-1')
    child.kill('SIGSTOP')
    const runs = new Map<string, number>()
    await house.work(
      (_command: unknown, { messageId }: AgentContext) => {
        runs.set(messageId, (runs.get(messageId) ?? 0) + 1)
      },
      { workerId: 'w-2' },
    )
    const client = house.client()
    const ids = Array.from({ length: 100 }, (_, i) => `m-${i}`)
    await Promise.all(ids.map((messageId) => client.sendMessage({ ...send, messageId, delayMs: 50 })))
    await Promise.all(ids.map((messageId) => client.result({ sessionId: 's', messageId, timeoutMs: 15_000 })))
    child.kill('SIGCONT')
    await client.sendMessage({ ...send, delayMs: 50 })
    await client.result(ref)
    await house.settled()
    for (const messageId of ids) expect(await house.dones('s', messageId)).toHaveLength(1)
    expect([...runs].filter(([, count]) => count > 1)).toEqual([])
  })

  test('that leaves in order is followed by another at once', async () => {
    const house = new House()
    const first = await keep(house, 'first')
    await keep(house, 'second')
    await first.stop()
    const keepers = () => Promise.all([0, 1, 2, 3].map((n) => house.redis.hget(house.keys.agenda(n).keeper, 'id')))
    await waitFor(async () => (await keepers()).every((id) => id === 'second'))
  })

  test('goes on after its data is gone, and does not spin', async () => {
    const house = await House.private()
    await house.work(() => 'fine')
    const client = house.client()
    await client.sendMessage({ ...send, delayMs: 600_000 })
    await house.redis.flushall()
    const calls = async () => {
      const stats = await house.redis.info('commandstats')
      return ['eval', 'evalsha'].reduce(
        (sum, name) => sum + Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0),
        0,
      )
    }
    const before = await calls()
    await pause(1_000)
    expect((await calls()) - before).toBeLessThan(200)
    expect(await client.sendMessage({ ...send, delayMs: 50 })).toMatchObject({ success: true })
    expect(await client.result(ref)).toMatchObject({ status: 'COMPLETED', data: 'fine' })
  })
})
