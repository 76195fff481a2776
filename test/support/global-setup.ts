import type { TestProject } from 'vitest/node'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'

declare module 'vitest' {
  interface ProvidedContext {
    redisUrl: string
  }
}

/** Finds or starts the one Redis of this run and tells every test file its URL; see `redis.ts` for how to use it. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const redis = await startLocalRedis({ log: (message) => project.vitest.logger.log(message) })
  project.provide('redisUrl', redis.url)
  return () => redis.stop()
}
