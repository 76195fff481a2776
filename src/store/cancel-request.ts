import { parseJson } from '../protocol/json.ts'

/** Why and how a task is to be cancelled. */
export interface CancelRequest {
  readonly reason: string
  readonly requestedBy: string
}

/** A request as `TaskRecords.requestCancel` noted it. */
export function parseCancel(text: string): CancelRequest {
  const json = parseJson(text)
  const { reason, requestedBy } = json.ok ? (json.value as Partial<CancelRequest>) : {}
  return { reason: reason ?? '', requestedBy: requestedBy ?? '' }
}
