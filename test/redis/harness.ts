import { Redis } from 'ioredis'
import { createLogger } from '../../src/logger.ts'
import type { RedisClient } from '../../src/redis/client.ts'
import { RedisConnections } from '../../src/redis/connections.ts'
import { Keys } from '../../src/redis/keys.ts'
import { type RedisOption, resolveRedisOption } from '../../src/redis/options.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { freshPrefix, testRedisUrl } from '../support/redis.ts'

/** A bare connection that ends with the test. */
export function bareRedis(url = testRedisUrl()): Redis {
  const redis = new Redis(url, { protocol: 2, disconnectTimeout: 100 })
  redis.on('error', () => undefined)
  onTestFinished(() => redis.disconnect())
  return redis
}

/** Connections that end with the test. */
export function connect(option: RedisOption = testRedisUrl(), logger = createLogger('silent')): RedisConnections {
  const connections = new RedisConnections(resolveRedisOption(option), logger)
  onTestFinished(() => connections.close())
  return connections
}

/** What a store needs, on the Redis of the run unless told otherwise, under a prefix of its own. */
export function openStore(url = testRedisUrl()): {
  redis: RedisClient
  keys: Keys
  bare: Redis
  connections: RedisConnections
} {
  const connections = connect(url)
  return { connections, redis: connections.client('patient'), keys: new Keys(freshPrefix()), bare: bareRedis(url) }
}
