import { DEFAULT_REDIS_URL } from '../redis/options.ts'
import type { Environment } from '../redis/variables.ts'
import type { LocalServerOptions } from '../testing/servers/local-server.ts'
import type { LocalRedis } from '../testing/servers/redis.ts'
import { redisOption } from './redis-settings.ts'
import type { Settings } from './settings.ts'

const LOOK_MS = 500

/**
 * A Redis of our own for `--dev`, if the settings name none; says where it is. It dies with this process, however that
 * ends, and is not started for settings that a worker refuses.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the option.
 */
export async function devRedis(settings: Settings, env: Environment): Promise<LocalRedis | undefined> {
  if (redisOption(settings) !== undefined) return undefined
  const { checkSettings } = await import('./check-settings.ts')
  checkSettings(settings)
  const { checkHistory } = await import('./history-store.ts')
  await checkHistory(settings)
  const redis = await startWhereOneLooks({
    fresh: true,
    env: { ...env },
    // With a log of its own, as in production: a worker warns of a server without one.
    args: ['--appendonly', 'yes'],
    log: (message) => process.stderr.write(`${message}\n`),
  })
  process.stderr.write(`Redis for development, gone with this process: ${redis.url}\n`)
  return redis
}

/** On the default port if that is free, so that `byclaw` finds it without being told; else on any. */
async function startWhereOneLooks(options: LocalServerOptions): Promise<LocalRedis> {
  // Only now: nobody but `--dev` needs what finds and starts servers.
  const { startLocalRedis } = await import('../testing/servers/redis.ts')
  const { canConnect } = await import('../testing/servers/tcp.ts')
  const { hostname, port } = new URL(DEFAULT_REDIS_URL)
  const isTaken = () => canConnect(hostname, Number(port), LOOK_MS)
  if (await isTaken()) return startLocalRedis(options)
  try {
    return await startLocalRedis({ ...options, port: Number(port) })
  } catch (error) {
    // Somebody was faster; any other reason holds for every port.
    if (await isTaken()) return startLocalRedis(options)
    throw error
  }
}
