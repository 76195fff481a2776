import { Redis } from 'ioredis'
import { cpuMicrosOf, memoryOf, startRedisMeter, versionOf } from './redis-stats.mjs'
import { importSdk } from './sdk.mjs'

// A rewrite of the file comes when the file has doubled, in the midst of whose measurement it likes, and costs 15 µs a task.
const AOF = ['--appendonly', 'yes', '--appendfsync', 'everysec', '--auto-aof-rewrite-percentage', '0']

/**
 * A private Redis of this run on loopback, with a connection to look at it. This is the face of a server which scenarios
 * use; `postgres-server.mjs` has the same, with `client` for its own connection.
 */
const startRedisServer = async (args) => {
  const { startLocalRedis } = await importSdk('/testing')
  const server = await startLocalRedis({ fresh: true, args })
  const redis = new Redis(server.port, '127.0.0.1', { maxRetriesPerRequest: null })
  // Its histograms take some 60 KB for each command that is used for the first time, which is no task's memory.
  await redis.config('SET', 'latency-tracking', 'no')
  const { bytes: emptyBytes } = await memoryOf(redis)
  return {
    port: server.port,
    redis,
    /** What it takes when it holds nothing: later on, an emptied one still has the buffers of connections that are gone. */
    emptyBytes,
    client: redis,
    empty: () => redis.flushall(),
    memory: () => memoryOf(redis),
    startMeter: () => startRedisMeter(redis),
    /** CPU time of the whole process so far. */
    cpuMicros: () => cpuMicrosOf(redis),
    /** Connections of others than this one. */
    connections: async () => Number(/^connected_clients:(\d+)/m.exec(await redis.info('clients'))[1]) - 1,
    describe: async () => `Redis ${await versionOf(redis)}`,
    stop: async () => {
      redis.disconnect()
      await server.stop()
    },
  }
}

const STARTERS = {
  redis: () => startRedisServer([]),
  'redis-aof': () => startRedisServer(AOF),
  postgres: async () => (await import('./postgres-server.mjs')).startPostgresServer(),
}

/** Starts a server of one kind. */
export const startServer = (kind = 'redis') => STARTERS[kind]()

/** The servers of this run, each started when it is first asked for. */
export const createServers = () => {
  const started = new Map()
  return {
    get: (kind = 'redis') => {
      if (!started.has(kind)) started.set(kind, startServer(kind))
      return started.get(kind)
    },
    /** All that run by now. */
    running: () => Promise.all(started.values()),
    stop: async () => {
      for (const server of await Promise.all(started.values())) await server.stop()
    },
  }
}
