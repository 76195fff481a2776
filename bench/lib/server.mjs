import { Redis } from 'ioredis'
import { importSdk } from './sdk.mjs'

/** Starts the private Redis of this run (loopback, no persistence), with a connection to look at it. */
export const startServer = async () => {
  const { startLocalRedis } = await importSdk('/testing')
  const server = await startLocalRedis({ fresh: true })
  const redis = new Redis(server.port, '127.0.0.1', { maxRetriesPerRequest: null })
  return {
    port: server.port,
    redis,
    stop: async () => {
      redis.disconnect()
      await server.stop()
    },
  }
}
