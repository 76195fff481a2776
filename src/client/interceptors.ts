import { composeInterceptors, type Interceptor, type Next } from '../agent/interceptor.ts'
import { refused, type SendAnswer } from '../dispatch/send.ts'
import { GatewayError } from '../errors.ts'
import { newMessageId, newTraceId } from '../protocol/ids.ts'
import type { SendContractRequest, SendMessageRequest } from './request.ts'

/** A message on its way out, as the caller gave it. */
export type SendInput = SendMessageRequest | SendContractRequest

/** What a client can stand around. */
export interface ClientInterceptors {
  /**
   * Around `sendMessage` and `ask`: may change the request, answer in its place, or look at the answer. A session or
   * message id that the caller has named stays; a request that changes it is `REJECTED`.
   */
  readonly send?: Interceptor<SendInput, SendAnswer> | undefined
}

/** A send inside of its interceptors, the first of them the outermost; undefined if there are none. */
export function aroundSend(
  interceptors: readonly ClientInterceptors[],
): ((request: SendInput, send: Next<SendInput, SendAnswer>) => Promise<SendAnswer>) | undefined {
  const all = interceptors.flatMap((one) => (one.send === undefined ? [] : [one.send.bind(one)]))
  const composed = composeInterceptors(all)
  if (composed === undefined) return undefined
  return (request, send) => {
    // Before it is handed out: an interceptor may write into it.
    const { sessionId, messageId, traceId = newTraceId() } = request
    return composed(request, async (given) => {
      const fault = changedId({ sessionId, messageId }, given)
      if (fault === undefined) return send(given)
      return refused('REJECTED', fault, { messageId: messageId ?? newMessageId(), traceId, timestamp: Date.now() })
    })
  }
}

function changedId(named: Pick<SendInput, 'sessionId' | 'messageId'>, given: SendInput): GatewayError | undefined {
  const field = (['sessionId', 'messageId'] as const).find(
    (name) => named[name] !== undefined && named[name] !== given[name],
  )
  if (field === undefined) return undefined
  const reason = `an interceptor may not change the one that was given, ${JSON.stringify(named[field])}`
  return new GatewayError('GW_INVALID_ARGUMENT', { field, value: given[field], reason })
}
