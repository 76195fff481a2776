import { z } from 'zod'
import type { CancelStatus, CancelWish } from '../dispatch/canceller.ts'
import type { CancelMode } from '../protocol/command.ts'
import { checkRef, type TaskRef } from '../protocol/ids.ts'
import { parseOptions } from '../util/parse-options.ts'

/** How to cancel; everything has a default. */
export interface CancelOptions {
  /** Told to the handler and to whoever reads the end. */
  readonly reason?: string | undefined
  /** Who wants it; for the records. */
  readonly requestedBy?: string | undefined
  /**
   * `graceful` (default): the handler's signal aborts, and the task ends when the handler does, at the latest after the
   * worker's `cancelGraceMs`. `force`: the task ends at once, and whatever its handler still writes is refused.
   */
  readonly mode?: CancelMode | undefined
}

export interface CancelTaskOptions extends TaskRef, CancelOptions {}

/** What became of the wish to cancel a task. */
export interface CancelAnswer {
  /** True if the task ends, or has just ended, as CANCELLED. Otherwise nothing was cancelled that was not before. */
  readonly success: boolean
  readonly status: CancelStatus
}

/** What became of the tasks of a session; those that had their end before are not listed. */
export interface CancelSessionAnswer {
  readonly success: boolean
  readonly tasks: readonly (CancelAnswer & { readonly messageId: string })[]
}

const schema = z.strictObject({
  reason: z.string().max(4_096).default(''),
  requestedBy: z.string().max(256).default(''),
  mode: z.enum(['graceful', 'force']).default('graceful'),
})

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the field. */
export function checkWish(options: CancelOptions): CancelWish {
  return parseOptions(schema, options)
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the field. */
export function checkCancel({ sessionId, messageId, ...options }: CancelTaskOptions): {
  ref: TaskRef
  wish: CancelWish
} {
  const ref = checkRef({ sessionId, messageId })
  return { ref, wish: checkWish(options) }
}

export function toCancelAnswer(status: CancelStatus): CancelAnswer {
  return { success: status === 'CANCELLED' || status === 'CANCEL_REQUESTED', status }
}
