import { expect, test } from 'vitest'
import { Canceller } from '../../src/dispatch/canceller.ts'
import { TaskEnder } from '../../src/dispatch/task-ender.ts'
import type { TaskRef } from '../../src/protocol/ids.ts'
import type { RedisClient } from '../../src/redis/client.ts'
import { Agenda } from '../../src/store/agenda.ts'
import type { CancelRequest } from '../../src/store/cancel-request.ts'
import { DataWriter } from '../../src/store/data-writer.ts'
import { isEnded } from '../../src/store/fence.ts'
import { InboxWriter } from '../../src/store/inbox.ts'
import { KinReader, type TaskKin } from '../../src/store/kin.ts'
import { LeftEntries } from '../../src/store/left-entries.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { openStore } from '../redis/harness.ts'
import { House } from '../worker/harness.ts'

const ref = { sessionId: 's', messageId: 'm' }

/** Sends each request again when the task has its end, as a connection does that was lost before it heard the answer. */
class Resending extends TaskRecords {
  override async requestCancel(task: TaskRef, request: CancelRequest): Promise<string> {
    await super.requestCancel(task, request)
    await waitFor(async () => isEnded((await this.peek(task))?.fence ?? ''))
    return super.requestCancel(task, request)
  }
}

class Counting extends KinReader {
  reads = 0

  override open(sessionId: string): Promise<TaskKin[]> {
    this.reads += 1
    return super.open(sessionId)
  }
}

function cancellerOf(
  house: House,
  redis: RedisClient,
  { records = new TaskRecords(redis, house.keys), kin = new KinReader(redis, house.keys) } = {},
): Canceller {
  const { keys, logger } = house
  const writer = new DataWriter(redis, keys, DEFAULT_RETENTION)
  const leftEntries = new LeftEntries(redis, keys, records)
  const ender = new TaskEnder({ records, writer, agenda: new Agenda(redis, keys), leftEntries })
  return new Canceller({ records, kin, ender, inboxes: new InboxWriter(redis, keys), logger })
}

const wish = { reason: 'enough', requestedBy: 'me', mode: 'graceful' } as const

test('cancels of many tasks of a session at once, as of a group whose first member failed, read it a few times', async () => {
  const house = new House()
  const { redis } = openStore()
  const kin = new Counting(redis, house.keys)
  const canceller = cancellerOf(house, redis, { kin })
  const client = house.client()
  const refs = Array.from({ length: 100 }, (_, index) => ({ sessionId: 's', messageId: `m-${index}` }))
  await Promise.all(refs.map((task) => client.sendMessage({ targetAgentType: 'agent', ...task, content: 'hi' })))
  const statuses = await Promise.all(refs.map((task) => canceller.cancel(task, wish)))
  expect(new Set(statuses)).toEqual(new Set(['CANCELLED']))
  expect(kin.reads).toBeLessThan(25)
})

test('a request whose reply was lost, and that was answered by an end before it was sent again, is no failure', async () => {
  const house = new House()
  const { redis } = openStore()
  const canceller = cancellerOf(house, redis, { records: new Resending(redis, house.keys) })
  await house.work(
    (_, { signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    { leaseMs: 500 },
  )
  const client = house.client()
  await client.sendMessage({ targetAgentType: 'agent', ...ref, content: 'hi' })
  await waitFor(async () => (await client.getTask(ref))?.status === 'RUNNING')
  expect(await canceller.cancel(ref, wish)).toBe('CANCELLED')
  expect(await client.getTask(ref)).toMatchObject({ status: 'CANCELLED' })
  expect(await canceller.cancel(ref, wish)).toBe('ALREADY_FINISHED')
})
