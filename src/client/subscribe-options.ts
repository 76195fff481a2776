import { GatewayError } from '../errors.ts'
import { checkId } from '../protocol/ids.ts'
import { isEntryId } from '../redis/streams.ts'
import { requireObject } from '../util/parse-options.ts'
import { checkSignal, checkTimer } from './time-limit.ts'

/** How to follow a session. */
export interface SubscribeOptions {
  /**
   * Id of the last event already known: an id, `'0'` (from the beginning) or `'$'` (from now on). Default `'$'`; with
   * `messageId` the beginning of that task.
   */
  readonly after?: string
  /** Only this task's events; the subscription ends after its `done`. */
  readonly messageId?: string
  /** With `messageId`: also the events of the agents that the task called. Default false. */
  readonly tree?: boolean
  /** Ends the subscription when it aborts. */
  readonly signal?: AbortSignal
  /** Ends the subscription when nothing came for this long, in ms. Default never. */
  readonly idleTimeoutMs?: number
  /** False: end at the present end of the stream. Default true. */
  readonly follow?: boolean
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` for a bad session, message or event id, a bad time or signal. */
export function checkSubscribe(sessionId: string, options: SubscribeOptions): void {
  checkId('sessionId', sessionId)
  requireObject('the options', options)
  const { messageId, after, idleTimeoutMs, signal } = options
  if (messageId !== undefined) checkId('messageId', messageId)
  if (after !== undefined && after !== '$' && !isEntryId(after)) {
    const reason = "must be an event's id, '0' or '$'"
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'after', value: after, reason })
  }
  checkTimer('idleTimeoutMs', idleTimeoutMs)
  checkSignal(signal)
}
