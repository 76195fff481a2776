import { randomBytes } from 'node:crypto'
import { createLogger } from '../logger.ts'
import { RedisConnections } from '../redis/connections.ts'
import { resolveRedisOption } from '../redis/options.ts'
import { startLocalRedis } from './servers/redis.ts'

/** A place of one's own: a server, or a key prefix on somebody else's. */
export interface HarnessRedis {
  readonly url: string
  readonly keyPrefix: string
  /** Removes all that was written. */
  close(): Promise<void>
}

/** Starts a private server, or takes a corner of the one that is given. */
export async function openHarnessRedis(url: string | undefined): Promise<HarnessRedis> {
  if (url === undefined) {
    const server = await startLocalRedis({ fresh: true })
    return { url: server.url, keyPrefix: 'queue', close: () => server.stop() }
  }
  const keyPrefix = `test-${randomBytes(8).toString('hex')}`
  return { url, keyPrefix, close: () => removeKeys(url, keyPrefix) }
}

async function removeKeys(url: string, keyPrefix: string): Promise<void> {
  const connections = new RedisConnections(resolveRedisOption(url), createLogger('silent'))
  try {
    const redis = connections.client('prompt')
    let cursor = '0'
    do {
      // Some keys begin with the brace of their hash tag; the prefix is random enough to be looked for anywhere.
      const match = ['MATCH', `*${keyPrefix}:*`, 'COUNT', 1_000]
      const [next, keys] = await redis.call<[string, string[]]>('SCAN', cursor, ...match)
      cursor = next
      if (keys.length > 0) await redis.call('UNLINK', ...keys)
    } while (cursor !== '0')
  } finally {
    connections.close()
  }
}
