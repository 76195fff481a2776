import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'

/** Ids of all tasks that a session's index lists. Its score 0 and below is a count; see lua/include/index.lua. */
export function sessionTasks(redis: RedisClient, keys: Keys, sessionId: string): Promise<string[]> {
  return redis.call<string[]>('ZRANGEBYSCORE', keys.session(sessionId), '(0', '+inf')
}

/** The same, `count` at a time from the end: suspended tasks first. */
export function latestTasks(
  redis: RedisClient,
  keys: Keys,
  { sessionId, from, count }: { sessionId: string; from: number; count: number },
): Promise<string[]> {
  const key = keys.session(sessionId)
  return redis.call<string[]>('ZREVRANGEBYSCORE', key, '+inf', '(0', 'LIMIT', from, count)
}
