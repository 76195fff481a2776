import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'

declare module 'vitest' {
  interface ProvidedContext {
    redisUrl: string
    scratchFolder: string
  }
}

/**
 * Finds or starts the one Redis of this run and tells every test file its URL; see `redis.ts` for how to use it. Likewise a
 * folder for what several files share, which goes with the run.
 */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const redis = await startLocalRedis({ log: (message) => project.vitest.logger.log(message) })
  project.provide('redisUrl', redis.url)
  const scratchFolder = await realpath(await mkdtemp(join(tmpdir(), 'byclaw-tests-')))
  project.provide('scratchFolder', scratchFolder)
  return async () => {
    await rm(scratchFolder, { recursive: true })
    await redis.stop()
  }
}
