import type { Environment } from '../redis/environment.ts'
import { DEFAULT_REDIS_URL } from '../redis/options.ts'
import type { LocalServerOptions } from '../testing/servers/local-server.ts'
import type { LocalRedis } from '../testing/servers/redis.ts'

const LOOK_MS = 500

/** Starts a Redis of our own for `--dev`, and says where it is. It dies with this process, however that ends. */
export async function startDevRedis(env: Environment): Promise<LocalRedis> {
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
