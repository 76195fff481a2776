import { errorMessage, GatewayError } from '../errors.ts'
import { isWrongKind } from './apart.ts'
import { isNoEntry, isOnItsWay, isRefusedForNow } from './patience.ts'
import type { RedisValue } from './script-call.ts'

/** Most keys that an error names. */
const MOST_NAMED = 4

/** In the details of an error that comes of a connection which is down. */
const CONNECTION_IS_DOWN = { connection: 'down' } as const

/** True if the line that tells of the connection tells of this failure, too. */
export function isOfLostConnection(error: unknown): boolean {
  return error instanceof GatewayError && error.details['connection'] === CONNECTION_IS_DOWN.connection
}

/**
 * What a call that failed throws. What the server says no to is thrown as it is, for those who know what it means; all
 * else, and what it refuses only for now or for want of a right, becomes a GatewayError.
 *
 * @param about.keysOf - The keys that the call touches.
 * @param about.isDown - The connection is down.
 */
export function toCallError(
  operation: string,
  error: unknown,
  { keysOf, isDown }: { keysOf: () => readonly RedisValue[]; isDown: boolean },
): unknown {
  if (error instanceof GatewayError) return error
  if (isWrongKind(error)) return toWrongKind(operation, error, keysOf())
  const isAnswer = error instanceof Error && error.name === 'ReplyError'
  if (isAnswer && !isRefusedForNow(error) && !isOnItsWay(error) && !isNoEntry(error)) return error
  const details = { operation, reason: errorMessage(error), ...(isDown ? CONNECTION_IS_DOWN : {}) }
  return new GatewayError('GW_REDIS_FAILED', details, { cause: error })
}

/** The keys that a command touches. */
export function keysIn(command: string, args: readonly RedisValue[]): readonly RedisValue[] {
  const streams = args.indexOf('STREAMS') + 1
  if (streams > 0) return args.slice(streams, streams + (args.length - streams) / 2)
  return args.slice(0, /^X(?:INFO|GROUP)$/.test(command) ? 2 : 1).slice(-1)
}

/** The server does not say which key it is. */
function toWrongKind(operation: string, cause: Error, keys: readonly RedisValue[]): GatewayError {
  const named = keys.slice(0, MOST_NAMED).join(', ') + (keys.length > MOST_NAMED ? ', …' : '')
  const which = keys.length === 1 ? `the key ${named} holds` : `one of the keys ${named} holds`
  const reason = `${which} a value of another kind, which somebody else has put there: look at it, then delete or rename it (${cause.message})`
  return new GatewayError('GW_REDIS_FAILED', { operation, reason, keys }, { cause })
}
