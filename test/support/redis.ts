import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { inject } from 'vitest'

const prefixes: string[] = []

/** The URL of the Redis that all test files of this run share. Do not flush, stop or configure it: start your own. */
export function testRedisUrl(): string {
  return inject('redisUrl')
}

/**
 * A key prefix that nobody else uses, for one test file or one fixture. Every key that begins with it is removed when the
 * file is done.
 */
export function freshPrefix(): string {
  const prefix = `t${randomBytes(8).toString('hex')}`
  prefixes.push(prefix)
  return prefix
}

/** Removes every key of a prefix at once; answers how many there were. */
export async function removeKeys(prefix: string): Promise<number> {
  const redis = new Redis(testRedisUrl(), { maxRetriesPerRequest: 1 })
  try {
    let removed = 0
    for await (const keys of redis.scanStream({ match: `${prefix}*`, count: 1000 })) {
      if (keys.length > 0) removed += await redis.unlink(...keys)
    }
    return removed
  } finally {
    redis.disconnect()
  }
}

/** Removes every key of every prefix that was handed out since it was called last. */
export async function removeUsedKeys(): Promise<void> {
  await Promise.all(prefixes.splice(0).map(removeKeys))
}
