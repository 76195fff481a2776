import { Cluster, Redis } from 'ioredis'
import { type LocalRedis, startLocalRedis } from '../src/testing/servers/redis.ts'
import { formCluster, startNodes } from '../test/support/cluster.ts'

/** Every write is on disk before it is answered, so that even what was accepted a moment before a kill must be there. */
const ARGS = ['--appendonly', 'yes', '--appendfsync', 'always', '--loglevel', 'warning']
/** No replicas: who takes over from a master may lack what that had accepted. */
const MASTERS = 3

/** The Redis of a run: one server, or the masters of a Cluster. */
export class Servers {
  readonly nodes: readonly LocalRedis[]
  readonly isCluster: boolean

  private constructor(nodes: readonly LocalRedis[], isCluster: boolean) {
    this.nodes = nodes
    this.isCluster = isCluster
  }

  static async start(isCluster: boolean): Promise<Servers> {
    if (!isCluster) return new Servers([await startLocalRedis({ fresh: true, args: ARGS })], false)
    const nodes = await startNodes(MASTERS, [...ARGS, '--cluster-node-timeout', '1000'])
    await formCluster(nodes)
    return new Servers(nodes, true)
  }

  /** A connection that no trouble is made for, but that a server itself may be away. */
  connect(): Redis | Cluster {
    const retryStrategy = () => 50
    const redisOptions = { protocol: 2, maxRetriesPerRequest: null } as const
    // As good as for ever.
    const maxRedirections = 1_000_000
    const [first] = this.nodes as [LocalRedis]
    const ways = this.nodes.map(({ port }) => ({ host: '127.0.0.1', port }))
    const redis = this.isCluster
      ? new Cluster(ways, {
          redisOptions,
          clusterRetryStrategy: retryStrategy,
          retryDelayOnClusterDown: 50,
          maxRedirections,
        })
      : new Redis(first.port, '127.0.0.1', { ...redisOptions, retryStrategy })
    redis.on('error', () => undefined) // a server is killed; it comes back
    return redis
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()))
  }
}

/** Keys that match, page by page, of one server or of all masters. */
export async function* keysOf(redis: Redis | Cluster, match: string): AsyncGenerator<string[]> {
  const nodes = redis instanceof Cluster ? redis.nodes('master') : [redis]
  for (const node of nodes) {
    for await (const page of node.scanStream({ match, count: 1_000 })) yield page as string[]
  }
}
