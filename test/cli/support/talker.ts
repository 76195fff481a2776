import { fileURLToPath } from 'node:url'
import { freshPrefix, testRedisUrl } from '../../support/redis.ts'
import { type Program, startByclawWorker } from './program.ts'

/** The agent of the fixtures, as `--worker-class` takes it. */
export const TALKER = `${fileURLToPath(new URL('../fixtures/talker.ts', import.meta.url))}#Talker`

/** Variables with which all programs of a test meet in a corner of Redis of their own. */
export function meetingPlace(): { REDIS_URL: string; BYAI_WORKER_KEY_PREFIX: string } {
  return { REDIS_URL: testRedisUrl(), BYAI_WORKER_KEY_PREFIX: freshPrefix() }
}

/** A worker that talks, once it consumes. */
export async function startTalker(env: Record<string, string>, args: readonly string[] = []): Promise<Program> {
  const worker = startByclawWorker(['--worker-class', TALKER, ...args], { env })
  await worker.says('worker is consuming')
  return worker
}
