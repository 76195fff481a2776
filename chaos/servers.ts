import { Cluster, Redis } from 'ioredis'
import { type LocalRedis, startLocalRedis } from '../src/testing/servers/redis.ts'
import { sleep } from '../src/util/sleep.ts'
import { formCluster, startNodes } from '../test/support/cluster.ts'
import { Network } from '../test/support/network.ts'

/** Every write is on disk before it is answered, so that even what was accepted a moment before a kill must be there. */
const ARGS = ['--appendonly', 'yes', '--appendfsync', 'always', '--loglevel', 'warning']
/** A master lets its first replica wait for others, by default for 5 s. */
const PAIR_ARGS = [...ARGS, '--repl-diskless-sync-delay', '0']
/** No replicas: who takes over from a master may lack what that had accepted. */
const MASTERS = 3
const FAILOVER_MS = 10_000
const LOOK_EVERY_MS = 50

/** One server; a server with a replica, which change places; or the masters of a Cluster. */
export const LAYOUTS = ['single', 'pair', 'cluster'] as const

export type Layout = (typeof LAYOUTS)[number]

/** The Redis of a run, and the networks to it. */
export class Servers {
  readonly layout: Layout
  /** With a pair the one that is master stands first. */
  #nodes: readonly LocalRedis[]
  readonly #networks: Network[] = []
  /** Those that always follow the master. */
  readonly #quiet = new Set<Network>()

  private constructor(layout: Layout, nodes: readonly LocalRedis[]) {
    this.layout = layout
    this.#nodes = nodes
  }

  static async start(layout: Layout): Promise<Servers> {
    if (layout === 'single') return new Servers(layout, [await startLocalRedis({ fresh: true, args: ARGS })])
    if (layout === 'pair') {
      const nodes = await Promise.all([1, 2].map(() => startLocalRedis({ fresh: true, args: PAIR_ARGS })))
      const [master, replica] = nodes as [LocalRedis, LocalRedis]
      await order(replica, 'REPLICAOF', '127.0.0.1', master.port)
      return new Servers(layout, nodes)
    }
    const nodes = await startNodes(MASTERS, [...ARGS, '--cluster-node-timeout', '1000'])
    await formCluster(nodes)
    return new Servers(layout, nodes)
  }

  /** A master, each number another one where there are several. */
  master(which: number): LocalRedis {
    const masters = this.layout === 'pair' ? 1 : this.#nodes.length
    return this.#nodes[which % masters] as LocalRedis
  }

  /** A network of one's own to the masters, wherever they are. */
  async lay(): Promise<Network> {
    const nodes = this.layout === 'pair' ? this.#nodes.slice(0, 1) : this.#nodes
    const network = await Network.lay({ nodes, isCluster: this.layout === 'cluster' })
    this.#networks.push(network)
    return network
  }

  /**
   * Master and replica change places, and nothing is lost: the master takes no more writes until the replica has all. False
   * if that did not come about in time, or there is no replica.
   *
   * @param cuts - Connections to the former master are reset. Otherwise they stay, to a server that refuses writes.
   */
  async failOver(cuts: boolean): Promise<boolean> {
    const [master, replica] = this.#nodes as [LocalRedis, LocalRedis]
    if (this.layout !== 'pair') return false
    const deadline = performance.now() + FAILOVER_MS
    while (!(await isReplica(master))) {
      if (performance.now() > deadline) return false
      // Refused while the replica is not up to date, or the same is under way.
      await order(master, 'FAILOVER', 'TO', '127.0.0.1', replica.port, 'TIMEOUT', FAILOVER_MS).catch(() => undefined)
      await sleep(LOOK_EVERY_MS)
    }
    this.#nodes = [replica, master]
    for (const network of this.#networks) {
      network.leadTo(replica.port)
      if (cuts || this.#quiet.has(network)) network.cut()
    }
    return true
  }

  /** A master takes no writes for a while, for want of memory. */
  async fill(which: number, ms: number): Promise<boolean> {
    const master = this.master(which)
    await order(master, 'CONFIG', 'SET', 'maxmemory', 1)
    await sleep(ms)
    await order(master, 'CONFIG', 'SET', 'maxmemory', 0)
    return true
  }

  /** A master forgets the scripts that it was given. */
  async forgetScripts(which: number): Promise<boolean> {
    await order(this.master(which), 'SCRIPT', 'FLUSH')
    return true
  }

  /** A connection that no trouble is made for, but that a server itself may be away. */
  async connect(): Promise<Redis | Cluster> {
    const retryStrategy = () => 50
    const redisOptions = { protocol: 2, maxRetriesPerRequest: null } as const
    const redis =
      this.layout === 'cluster'
        ? new Cluster(
            this.#nodes.map(({ port }) => ({ host: '127.0.0.1', port })),
            {
              redisOptions,
              clusterRetryStrategy: retryStrategy,
              retryDelayOnClusterDown: 50,
              maxRedirections: 1_000_000, // as good as for ever
            },
          )
        : new Redis(await this.#layQuiet(), { ...redisOptions, retryStrategy, reconnectOnError: leavesReplica })
    redis.on('error', () => undefined) // a server is killed; it comes back
    return redis
  }

  async #layQuiet(): Promise<string> {
    const network = await this.lay()
    this.#quiet.add(network)
    return network.way as string
  }

  async stop(): Promise<void> {
    await Promise.all(this.#networks.map((network) => network.stop()))
    await Promise.all(this.#nodes.map((node) => node.stop()))
  }
}

/** Who is told that this is no master any more connects anew and asks again. */
function leavesReplica({ message }: Error): 2 | false {
  return message.startsWith('READONLY') ? 2 : false
}

async function order({ port }: LocalRedis, command: string, ...args: (string | number)[]): Promise<unknown> {
  const redis = new Redis(port, '127.0.0.1', { lazyConnect: true, retryStrategy: () => null })
  redis.on('error', () => undefined) // the command says so
  try {
    return await redis.call(command, ...args)
  } finally {
    redis.disconnect()
  }
}

async function isReplica(server: LocalRedis): Promise<boolean> {
  const [role] = (await order(server, 'ROLE')) as [string]
  return role === 'slave'
}

/** Keys that match, page by page, of one server or of all masters. */
export async function* keysOf(redis: Redis | Cluster, match: string): AsyncGenerator<string[]> {
  const nodes = redis instanceof Cluster ? redis.nodes('master') : [redis]
  for (const node of nodes) {
    for await (const page of node.scanStream({ match, count: 1_000 })) yield page as string[]
  }
}
