import { expect, test } from 'vitest'
import { isTerminal, type TaskStatus, TERMINAL_STATUSES } from '../../src/protocol/status.ts'

test('exactly four statuses are an end', () => {
  const all: TaskStatus[] = [
    ...['QUEUED', 'RUNNING', 'RETRYING', 'DELAYED', 'WAITING_AGENT', 'WAITING_USER'],
    ...TERMINAL_STATUSES,
  ] as TaskStatus[]
  expect(all.filter(isTerminal)).toEqual(['COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED'])
})
