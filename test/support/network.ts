import { Cluster, type NatMap } from 'ioredis'
import type { RedisOption } from '../../src/redis/options.ts'
import { TcpProxy } from './tcp-proxy.ts'

const HOST = '127.0.0.1'

/** Where Redis is for one who comes through a network of his own, as JSON can carry it. */
export type Way =
  | string
  | { readonly nodes: readonly { readonly host: string; readonly port: number }[]; readonly natMap: NatMap }

/** What the library takes for a way. */
export function redisOf(way: Way): RedisOption {
  if (typeof way === 'string') return way
  // Never connected itself: the library makes connections of its own after its pattern.
  return new Cluster([...way.nodes], { natMap: way.natMap, lazyConnect: true })
}

/** All the lines between one process, or a group of them, and the servers; what befalls one befalls all. */
export class Network {
  readonly way: Way
  readonly #proxies: readonly TcpProxy[]

  private constructor(way: Way, proxies: readonly TcpProxy[]) {
    this.way = way
    this.#proxies = proxies
  }

  static async lay({ nodes, isCluster }: { nodes: readonly { port: number }[]; isCluster: boolean }): Promise<Network> {
    const proxies = await Promise.all(nodes.map(({ port }) => TcpProxy.start(port)))
    const [first] = proxies as [TcpProxy]
    if (!isCluster) return new Network(first.url, proxies)
    const ends = proxies.map(({ port }) => ({ host: HOST, port }))
    const natMap = Object.fromEntries(
      nodes.map(({ port }, index) => [`${HOST}:${port}`, ends[index] as (typeof ends)[0]]),
    )
    return new Network({ nodes: ends, natMap }, proxies)
  }

  /** Resets the connections that are there; answers how many there were. */
  cut(): number {
    return this.#proxies.reduce((sum, proxy) => sum + proxy.cut(), 0)
  }

  /** Connections that are there carry nothing any more, or nothing back, and so do new ones until {@link pass}. */
  blackHole(direction: 'down' | 'both' = 'both'): void {
    for (const proxy of this.#proxies) proxy.blackHole(undefined, direction)
  }

  /** Everything comes so much later, in both directions, on the connections that are there and on new ones. */
  delay(delayMs: number): void {
    for (const proxy of this.#proxies) proxy.delay(delayMs)
  }

  /** Lets new connections through. */
  pass(): void {
    for (const proxy of this.#proxies) proxy.pass()
  }

  /** Leads new connections to another server, where there is one at a time. */
  leadTo(port: number): void {
    for (const proxy of this.#proxies) proxy.leadTo(port)
  }

  async stop(): Promise<void> {
    await Promise.all(this.#proxies.map((proxy) => proxy.stop()))
  }
}
