import { expect, test } from 'vitest'
import { GatewayError } from '../../src/errors.ts'
import type { Assignment } from '../../src/execution/assignment.ts'
import type { ExecutionResources } from '../../src/execution/execution.ts'
import { Executions } from '../../src/worker/executions.ts'
import { Slots } from '../../src/worker/slots.ts'
import { memoryLogger } from './harness.ts'

test('what comes when all was broken off is not begun, and leaves its slot', async () => {
  const slots = new Slots(1)
  // Neither is looked at.
  const executions = new Executions({} as ExecutionResources, memoryLogger())
  executions.abortAll(new GatewayError('GW_SHUTDOWN', { workerId: 'w' }))
  slots.take(1)
  const { how } = await executions.run({} as Assignment, slots.seat())
  expect(await how).toBe('left')
  expect(slots.free).toBe(1)
})
