import { expect, test } from 'vitest'
import { Canceller } from '../../src/dispatch/canceller.ts'
import { TaskEnder } from '../../src/dispatch/task-ender.ts'
import type { TaskRef } from '../../src/protocol/ids.ts'
import { Agenda } from '../../src/store/agenda.ts'
import type { CancelRequest } from '../../src/store/cancel-request.ts'
import { DataWriter, DEFAULT_RETENTION } from '../../src/store/data-streams.ts'
import { isEnded } from '../../src/store/fence.ts'
import { InboxWriter } from '../../src/store/inbox.ts'
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

test('a request whose reply was lost, and that was answered by an end before it was sent again, is no failure', async () => {
  const house = new House()
  const { redis } = openStore()
  const { keys, logger } = house
  const records = new Resending(redis, keys)
  const ender = new TaskEnder(records, new DataWriter(redis, keys, DEFAULT_RETENTION), new Agenda(redis, keys))
  const canceller = new Canceller({ records, ender, inboxes: new InboxWriter(redis, keys), logger })
  await house.work(
    (_, { signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    { leaseMs: 500 },
  )
  const client = house.client()
  await client.sendMessage({ targetAgentType: 'agent', ...ref, content: 'hi' })
  await waitFor(async () => (await client.getTask(ref))?.status === 'RUNNING')
  const wish = { reason: 'enough', requestedBy: 'me', mode: 'graceful' } as const
  expect(await canceller.cancel(ref, wish)).toBe('CANCELLED')
  expect(await client.getTask(ref)).toMatchObject({ status: 'CANCELLED' })
  expect(await canceller.cancel(ref, wish)).toBe('ALREADY_FINISHED')
})
