import { DEFAULT_BACKOFF } from '../agent/retry.ts'
import type { PlainOptions } from '../worker/options.ts'
import type { Settings } from './settings.ts'

/** The settings that are options of `runWorker` as they stand, and those that are pieces of its retry policy. */
export function plainOptions({ values }: Settings): PlainOptions {
  const {
    workerClass: _,
    logLevel: __,
    retryMaxAttempts,
    retryDelayMs,
    retryMaxDelayMs,
    agentVersion,
    ...rest
  } = values
  const own = Object.entries(rest).filter(([name]) => !/^(redis|history)/.test(name))
  const plain = Object.fromEntries(agentVersion === undefined ? own : [...own, ['version', agentVersion]])
  const { delayMs, maxDelayMs } = { delayMs: retryDelayMs, maxDelayMs: retryMaxDelayMs }
  const hasBackoff = delayMs !== undefined || maxDelayMs !== undefined
  const backoff = hasBackoff ? backoffOf({ delayMs, maxDelayMs }) : undefined
  const hasRetry = retryMaxAttempts !== undefined || hasBackoff
  return hasRetry ? { ...plain, retry: { maxAttempts: retryMaxAttempts, backoff } } : plain
}

function backoffOf({ delayMs, maxDelayMs }: { delayMs: number | undefined; maxDelayMs: number | undefined }) {
  const rule = { ...DEFAULT_BACKOFF, ...(delayMs === undefined ? {} : { delayMs }) }
  return maxDelayMs === undefined ? rule : { ...rule, maxDelayMs }
}
