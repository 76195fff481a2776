import { resolveRedis } from '../redis/environment.ts'
import { resolvePlainOptions } from '../worker/options.ts'
import { historyKind } from './history-store.ts'
import { checkedLevel } from './logs.ts'
import { plainOptions } from './plain-options.ts'
import { redisOption } from './redis-settings.ts'
import type { Settings } from './settings.ts'

/**
 * Refuses what a worker would refuse at its start, before anything is loaded or started for it.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the option.
 */
export function checkSettings(settings: Settings): void {
  const { logLevel } = settings.values
  if (logLevel !== undefined) checkedLevel(logLevel)
  resolvePlainOptions(plainOptions(settings))
  resolveRedis(redisOption(settings))
  historyKind(settings)
}
