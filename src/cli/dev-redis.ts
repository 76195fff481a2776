import type { LocalRedis } from '../testing/servers/redis.ts'
import type { Environment } from './env.ts'

/** Starts a Redis of our own for `--dev`, and says where it is. It dies with this process, however that ends. */
export async function startDevRedis(env: Environment): Promise<LocalRedis> {
  // Only now: nobody else needs what finds and starts servers.
  const { startLocalRedis } = await import('../testing/servers/redis.ts')
  const log = (message: string) => process.stderr.write(`${message}\n`)
  // With a log of its own, as in production: a worker warns of a server without one.
  const redis = await startLocalRedis({ fresh: true, env: { ...env }, args: ['--appendonly', 'yes'], log })
  process.stderr.write(`Redis for development, gone with this process: ${redis.url}\n`)
  return redis
}
