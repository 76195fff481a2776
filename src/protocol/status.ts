/** How a task can end; every accepted task ends in exactly one of these. */
export const TERMINAL_STATUSES = ['COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED'] as const
export type TerminalStatus = (typeof TERMINAL_STATUSES)[number]

/** Where a task is in its life. */
export type TaskStatus =
  | 'QUEUED'
  | 'RUNNING'
  | 'RETRYING'
  | 'DELAYED'
  | 'WAITING_AGENT'
  | 'WAITING_USER'
  | TerminalStatus

export function isTerminal(status: TaskStatus): status is TerminalStatus {
  return (TERMINAL_STATUSES as readonly string[]).includes(status)
}
