import { createLogger, type RunWorkerOptions, runWorker } from 'byclaw-gateway-sdk'
import { onTestFinished } from 'vitest'
import { plainProgram } from '../../support/plain-program.ts'
import { freshPrefix, testRedisUrl } from '../../support/redis.ts'
import { Talker } from '../fixtures/talker.ts'
import { type Program, startByclawWorker } from './program.ts'

/** The agent of the fixtures, as `--worker-class` takes it: without its types, which take a third of a start. */
export const TALKER = `${plainProgram(new URL('../fixtures/talker.ts', import.meta.url))}#Talker`

interface MeetingPlace extends Record<string, string> {
  readonly REDIS_URL: string
  readonly BYAI_WORKER_KEY_PREFIX: string
}

/** Variables with which all programs of a test meet in a corner of Redis of their own. */
export function meetingPlace(): MeetingPlace {
  return { REDIS_URL: testRedisUrl(), BYAI_WORKER_KEY_PREFIX: freshPrefix() }
}

/** A worker that talks, in this process, for who looks at what others do with it. */
export async function talkHere(place: MeetingPlace, options: RunWorkerOptions = {}): Promise<void> {
  const { REDIS_URL: redis, BYAI_WORKER_KEY_PREFIX: keyPrefix } = place
  const worker = await runWorker({ workerClass: Talker, redis, keyPrefix, logger: createLogger('fatal'), ...options })
  onTestFinished(() => worker.stop())
}

/** A worker that talks, in a process of its own, once it consumes. */
export async function startTalker(env: Record<string, string>, args: readonly string[] = []): Promise<Program> {
  const worker = startByclawWorker(['--worker-class', TALKER, ...args], { env })
  await worker.says('worker is consuming')
  return worker
}
