import { GatewayError } from '../errors.ts'
import type { EventBody, TaskFault } from './event.ts'

type Ending<Status> = EventBody & { type: 'done' } & { readonly status: Status; readonly error: TaskFault }

/** The last word of a task that was cancelled. */
export function cancelledDone(reason: string): Ending<'CANCELLED'> {
  const error = faultOf(new GatewayError('GW_CANCELLED', { reason: reason || 'no reason given' }))
  return { type: 'done', status: 'CANCELLED', error }
}

/** The last word of a task that was not started in time. */
export function expiredDone(): Ending<'EXPIRED'> {
  return { type: 'done', status: 'EXPIRED', error: faultOf(new GatewayError('GW_EXPIRED')) }
}

function faultOf({ code, message }: GatewayError): TaskFault {
  return { code, message }
}
