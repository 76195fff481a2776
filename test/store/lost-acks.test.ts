import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Agenda } from '../../src/store/agenda.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { parkedFence } from '../../src/store/fence.ts'
import { Journals } from '../../src/store/journals.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { connect } from '../redis/harness.ts'
import { House } from '../worker/harness.ts'

const ref = { sessionId: 's', messageId: 'm' }
const send = { targetAgentType: 'agent', ...ref, content: 'hi' }

/** A task that a worker has begun, and its fence. */
async function begun(house: House): Promise<string> {
  const redis = connect(house.url).client('patient')
  const control = house.keys.control('agent')
  await house.redis.xgroup('CREATE', control, 'agent_engines', '0', 'MKSTREAM')
  await house.client().sendMessage(send)
  await house.redis.xreadgroup('GROUP', 'agent_engines', 'dead', 'COUNT', 1, 'STREAMS', control, '>')
  const [[entryId = ''] = []] = await house.redis.xrange(control, '-', '+')
  await new TaskRecords(redis, house.keys).begin('dead', [{ ...ref, entryId, turn: '' }])
  return `R:1:${entryId}:dead`
}

/** Each leaves the task to a later run, and dies before it acks its entry. */
const parkings: [string, (house: House, fence: string) => Promise<unknown>][] = [
  [
    'suspended',
    async (house, fence) => {
      const journals = new Journals(connect(house.url).client('patient'), house.keys)
      await journals.open({ ...ref, fence, op: 'ask', entry: '{}', sum: '' })
      const home = { capability: 'agent', priority: 'normal', data: '{}' } as const
      expect(await journals.park({ ...ref, fence, waitsFor: 'user', ...home, ops: ['ask'] })).toEqual({
        status: 'parked',
      })
    },
  ],
  [
    'left to its next attempt',
    async (house, fence) => {
      const redis = connect(house.url).client('patient')
      const end = { fence: parkedFence(fence), fields: { due_at: '600000' } }
      await new DataWriter(redis, house.keys, DEFAULT_RETENTION).commit(() => ({
        ...{ ...ref, fence, first: 1, events: ['{}'], end },
      }))
      const item = { kind: 'ready', turn: '1', ...ref, capability: 'agent', priority: 'normal', data: '{}' } as const
      await new Agenda(redis, house.keys).add([{ item, delayMs: 600_000 }])
    },
  ],
]

test.each(parkings)(
  'a task that was %s, its ack lost, and is cancelled does not run again when its record is gone',
  async (_, park) => {
    const house = new House()
    await park(house, await begun(house))
    const client = house.client({ resultTtlMs: 1 })
    expect(await client.cancelTask(ref)).toEqual({ success: true, status: 'CANCELLED' })
    await waitFor(async () => (await house.redis.exists(house.keys.task('s', 'm'))) === 0)
    let runs = 0
    await house.work(() => (runs += 1), { leaseMs: 500 })
    await pause(1_500)
    await house.settled()
    expect([runs, (await house.dones('s', 'm')).length]).toEqual([0, 1])
  },
)

test('and leaves alone what has the same id on another lane', async () => {
  const house = new House()
  const [[, park] = []] = parkings
  const fence = await begun(house)
  await park?.(house, fence)
  const [control, high] = [house.keys.control('agent'), house.keys.control('agent', 'high')]
  await house.client().sendMessage({ ...send, messageId: 'other' })
  const [, fields = []] = (await house.redis.xrevrange(control, '+', '-', 'COUNT', 1))[0] ?? []
  await house.redis.xadd(high, fence.split(':')[2] as string, ...fields)
  expect(await house.client().cancelTask(ref)).toEqual({ success: true, status: 'CANCELLED' })
  await waitFor(async () => (await house.redis.xlen(control)) === 1)
  expect(await house.redis.xlen(high)).toBe(1)
})
