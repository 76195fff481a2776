import { GatewayError } from '../errors.ts'

/** How a task can end; every accepted task ends in exactly one of these. */
export const TERMINAL_STATUSES = ['COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED'] as const
export type TerminalStatus = (typeof TERMINAL_STATUSES)[number]

const OPEN_STATUSES = ['QUEUED', 'RUNNING', 'RETRYING', 'DELAYED', 'WAITING_AGENT', 'WAITING_USER'] as const

/** Where a task is in its life. */
export type TaskStatus = (typeof OPEN_STATUSES)[number] | TerminalStatus

/** @throws GatewayError `GW_INVALID_ARGUMENT` naming `field`. */
export function checkStatus(field: string, value: unknown): void {
  const known: readonly unknown[] = [...OPEN_STATUSES, ...TERMINAL_STATUSES]
  if (known.includes(value)) return
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason: `must be one of ${known.join(', ')}` })
}

export function isTerminal(status: TaskStatus): status is TerminalStatus {
  return (TERMINAL_STATUSES as readonly string[]).includes(status)
}
