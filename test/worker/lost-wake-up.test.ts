import { once } from 'node:events'
import { expect, test } from 'vitest'
import { TaskRecords } from '../../src/store/task-records.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { connect } from '../redis/harness.ts'
import { House } from './harness.ts'

test('a cancel whose wake-up is lost is done all the same: the worker looks at the record', async () => {
  const house = new House()
  const reasons: unknown[] = []
  await house.work(async (_command, { signal }) => {
    await once(signal, 'abort')
    reasons.push((signal.reason as { code?: string }).code)
    return 'as if nothing had been'
  })
  const client = house.client()
  const ref = { sessionId: 's', messageId: 'm' }
  await client.sendMessage({ ...ref, targetAgentType: 'agent', content: 'x' })
  await waitFor(async () => (await client.getTask(ref))?.status === 'RUNNING')
  const redis = connect().client('patient')
  // Only the flag: what a cancel does before it wakes the worker.
  const fence = await new TaskRecords(redis, house.keys).requestCancel(ref, { reason: 'why', requestedBy: 'who' })
  expect(fence).toMatch(/^R:/)
  expect(await client.result({ ...ref, timeoutMs: 15_000 })).toMatchObject({ status: 'CANCELLED' })
  expect(reasons).toEqual(['GW_CANCELLED'])
  expect(await house.dones('s', 'm')).toHaveLength(1)
  await house.settled()
})
