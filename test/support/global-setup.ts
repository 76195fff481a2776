import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'

declare module 'vitest' {
  interface ProvidedContext {
    redisUrl: string
    /** For files that are made once for many tests; gone after the run. */
    folder: string
  }
}

/** Finds or starts the one Redis of this run and tells every test file its URL, see `redis.ts` for how to use it; and a folder. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const redis = await startLocalRedis({ log: (message) => project.vitest.logger.log(message) })
  project.provide('redisUrl', redis.url)
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'byclaw-tests-')))
  project.provide('folder', folder)
  return async () => {
    await redis.stop()
    await rm(folder, { recursive: true })
  }
}
