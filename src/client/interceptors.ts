import { composeInterceptors, type Interceptor, type Next } from '../agent/interceptor.ts'
import { refused, type SendAnswer } from '../dispatch/send.ts'
import { GatewayError } from '../errors.ts'
import { newMessageId, newTraceId } from '../protocol/ids.ts'
import { isObject } from '../protocol/json.ts'
import { requireObject } from '../util/parse-options.ts'
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
  return async (request, send) => {
    // Before it is handed out: an interceptor may write into it.
    const { sessionId, messageId, traceId = newTraceId() } = request
    const answer: unknown = await composed(request, async (given) => {
      requireObject('the request that an interceptor hands on', given)
      const fault = changedId({ sessionId, messageId }, given)
      if (fault === undefined) return send(given)
      return refused('REJECTED', fault, { messageId: messageId ?? newMessageId(), traceId, timestamp: Date.now() })
    })
    return requireAnswer(answer)
  }
}

/** A forgotten `return` is found where it is, not where the answer is used. */
function requireAnswer(answer: unknown): SendAnswer {
  if (isObject(answer) && typeof answer.success === 'boolean') return answer as unknown as SendAnswer
  const reason = 'must answer what became of the message, for instance what its `next` answers'
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'interceptors.send', value: answer, reason })
}

function changedId(named: Pick<SendInput, 'sessionId' | 'messageId'>, given: SendInput): GatewayError | undefined {
  const field = (['sessionId', 'messageId'] as const).find(
    (name) => named[name] !== undefined && named[name] !== given[name],
  )
  if (field === undefined) return undefined
  const reason = `an interceptor may not change the one that was given, ${JSON.stringify(named[field])}`
  return new GatewayError('GW_INVALID_ARGUMENT', { field, value: given[field], reason })
}
