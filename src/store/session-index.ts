import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'

/** Ids of all tasks that a session's index lists. Its score 0 and below is a count; see lua/include/index.lua. */
export function sessionTasks(redis: RedisClient, keys: Keys, sessionId: string): Promise<string[]> {
  return redis.call<string[]>('ZRANGEBYSCORE', keys.session(sessionId), '(0', '+inf')
}

/**
 * The same, the suspended first, then the newest, and how many of them have no end: Infinity where the index does not say.
 * That is asked second: what comes in between counts, and is only looked for in vain.
 */
export async function openTasks(
  redis: RedisClient,
  keys: Keys,
  sessionId: string,
): Promise<{ readonly messageIds: readonly string[]; readonly count: number }> {
  const key = keys.session(sessionId)
  const [messageIds, score] = await redis.all<string[] | string | null>([
    ['ZREVRANGEBYSCORE', key, '+inf', '(0'],
    ['ZSCORE', key, ''],
  ])
  return { messageIds: messageIds as string[], count: score === null ? Number.POSITIVE_INFINITY : -Number(score) }
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
