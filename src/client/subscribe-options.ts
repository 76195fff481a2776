import { GatewayError } from '../errors.ts'
import { checkId } from '../protocol/ids.ts'
import { isEntryId } from '../redis/streams.ts'
import { requireKnown } from '../util/parse-options.ts'
import { checkSignal, checkTimer } from './time-limit.ts'

/** How to follow a session. */
export interface SubscribeOptions {
  /**
   * Id of the last event already known: an id, `'0'` (from the beginning) or `'$'` (from now on). Default `'$'`; with
   * `messageId` the beginning of that task.
   */
  readonly after?: string | undefined
  /** Only this task's events; the subscription ends after its `done`. */
  readonly messageId?: string | undefined
  /** With `messageId`: also the events of the agents that the task called. Default false. */
  readonly tree?: boolean | undefined
  /** Ends the subscription when it aborts. */
  readonly signal?: AbortSignal | undefined
  /** Ends the subscription when nothing came for this long, in ms. Default never. */
  readonly idleTimeoutMs?: number | undefined
  /** False: end at the present end of the stream. Default true. */
  readonly follow?: boolean | undefined
}

const KNOWN = { after: true, messageId: true, tree: true, signal: true, idleTimeoutMs: true, follow: true } as const

/** @throws GatewayError `GW_INVALID_ARGUMENT` for a bad session, message or event id, a bad time or signal, and for what is no option. */
export function checkSubscribe(sessionId: string, options: SubscribeOptions): void {
  checkId('sessionId', sessionId)
  requireKnown(options, KNOWN)
  const { messageId, after, tree, idleTimeoutMs, follow, signal } = options
  if (messageId !== undefined) checkId('messageId', messageId)
  if (after !== undefined && after !== '$' && !isEntryId(after)) {
    const reason = "must be an event's id, '0' or '$'"
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'after', value: after, reason })
  }
  checkFlag('tree', tree)
  checkTimer('idleTimeoutMs', idleTimeoutMs)
  checkFlag('follow', follow)
  checkSignal(signal)
}

function checkFlag(field: string, value: unknown): void {
  if (value === undefined || typeof value === 'boolean') return
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason: 'must be true or false' })
}
