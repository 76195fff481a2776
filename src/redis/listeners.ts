import type { Cluster, Redis } from 'ioredis'

interface Group {
  readonly shardedSubscribers: ReadonlyMap<string, { getInstance(): Redis | null }>
  isResetting: boolean
  stop(): void
}

function groupOf(cluster: Cluster): Group | undefined {
  return (cluster as unknown as { readonly shardedSubscribers?: Group }).shardedSubscribers
}

/** The connections by which the client of a Cluster hears what is published, one per master: ioredis hides them. */
export function listenersOf(cluster: Cluster): Redis[] {
  const listeners = groupOf(cluster)?.shardedSubscribers.values() ?? []
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

/**
 * ioredis 6.0 makes them anew one time after the other, and waits until those that it makes have connected. One that it
 * stops meanwhile, since it has lost all masters, tells nothing of that any more: it would wait for ever, and there would
 * never be any again.
 */
export function makeListenersAgain(cluster: Cluster): void {
  const group = groupOf(cluster)
  if (group === undefined) return
  const stop = group.stop.bind(group)
  group.stop = () => {
    stop()
    group.isResetting = false
  }
}
