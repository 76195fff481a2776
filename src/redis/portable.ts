import { lookup, resolveSrv } from 'node:dns'
import type { ClusterNode, ClusterOptions } from 'ioredis'
import type { ResolvedRedis } from './options.ts'

/** Functions that this library has its own for, or that say what follows from none. */
const OWN = ['retryStrategy', 'sentinelRetryStrategy', 'sentinelReconnectStrategy', 'reconnectOnError']
const OWN_OF_CLUSTER = ['clusterRetryStrategy', 'redisOptions']
/** What ioredis takes itself where a client's options have none. */
const DEFAULTS: ReadonlySet<unknown> = new Set([lookup, resolveSrv])

interface Inside {
  readonly options: ClusterOptions
  readonly startupNodes: readonly ClusterNode[]
}

/**
 * The same servers in a form for another thread, which cannot be handed a client: where that is one of the caller's, its
 * options are. A function among them that means something cannot be copied, and neither can what is handed over then.
 */
export function portable(resolved: ResolvedRedis): ResolvedRedis {
  if (resolved.kind !== 'instance') return resolved
  const { instance, target, isCluster } = resolved
  if (!isCluster) return { kind: 'standalone', target, options: without(OWN, instance.options) }
  const { options, startupNodes } = instance as unknown as Inside
  const redisOptions = without(OWN, options.redisOptions ?? {})
  return {
    kind: 'cluster',
    target,
    nodes: [...startupNodes],
    options: { ...without(OWN_OF_CLUSTER, options), redisOptions },
  }
}

function without(names: readonly string[], options: object): object {
  const kept = Object.entries(options).filter(([name, value]) => !names.includes(name) && !DEFAULTS.has(value))
  return Object.fromEntries(kept)
}
