import { createLogger } from '../logger.ts'
import { resolvePlainOptions } from '../worker/options.ts'
import { openHistory } from './history-store.ts'
import { checkedLevel } from './logs.ts'
import { plainOptions } from './plain-options.ts'
import type { Settings } from './settings.ts'

/**
 * Refuses what a worker would refuse at its start, before anything is started for it.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the option.
 */
export async function checkSettings(settings: Settings): Promise<void> {
  const { logLevel, historyUrl } = settings.values
  if (logLevel !== undefined) checkedLevel(logLevel)
  resolvePlainOptions(plainOptions(settings))
  // `redis` means the one that is still to be started; of another place only its opening tells whether it is one.
  if (historyUrl === 'redis') return
  const history = await openHistory(settings, undefined, createLogger('silent'))
  await history?.close()
}
