import type { Cluster, Redis } from 'ioredis'

interface Listening {
  readonly shardedSubscribers?: {
    readonly shardedSubscribers?: ReadonlyMap<string, { getInstance(): Redis | null }>
  }
}

/** The connections by which the client of a Cluster hears what is published, one per master: ioredis hides them. */
export function listenersOf(cluster: Cluster): Redis[] {
  const listeners = (cluster as unknown as Listening).shardedSubscribers?.shardedSubscribers?.values() ?? []
  return [...listeners].flatMap((listener) => listener.getInstance() ?? [])
}

/** Shows each of them once, when it comes. */
export function onListener(cluster: Cluster, show: (listener: Redis) => void): void {
  const known = new WeakSet<Redis>()
  cluster.on('+subscriber', () => {
    for (const listener of listenersOf(cluster)) {
      if (known.has(listener)) continue
      known.add(listener)
      show(listener)
    }
  })
}
