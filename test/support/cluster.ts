import calculateSlot from 'cluster-key-slot'
import { Redis } from 'ioredis'
import { type LocalRedis, startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'

const SLOTS = 16_384
const PATIENCE = { timeoutMs: 30_000 }

/** Which of so many masters that share the slots evenly has a key. */
export function masterOf(key: string, masters: number): number {
  return Math.floor((calculateSlot(key) * masters) / SLOTS)
}

/** Starts servers that are to form a Cluster. They end with this process, or when they are stopped. */
export function startNodes(count: number, args: readonly string[]): Promise<LocalRedis[]> {
  const all = ['--cluster-enabled', 'yes', ...args]
  return Promise.all(Array.from({ length: count }, () => startLocalRedis({ fresh: true, args: all })))
}

/**
 * Makes servers one Cluster and resolves when all know each other.
 *
 * @param masters - So many of them, the first ones, share the slots evenly. Default all.
 */
export async function formCluster(servers: readonly LocalRedis[], masters = servers.length): Promise<void> {
  const nodes = servers.map(({ port }) => new Redis(port, '127.0.0.1', { disconnectTimeout: 100 }))
  try {
    const firstSlotOf = (index: number) => Math.ceil((index * SLOTS) / masters)
    await Promise.all(
      nodes
        .slice(0, masters)
        .map((node, index) => node.call('CLUSTER', 'ADDSLOTSRANGE', firstSlotOf(index), firstSlotOf(index + 1) - 1)),
    )
    for (const { port } of servers.slice(1)) await nodes[0]?.call('CLUSTER', 'MEET', '127.0.0.1', port)
    const whole = new RegExp(`cluster_state:ok[\\s\\S]*cluster_known_nodes:${servers.length}\\b`)
    const isWhole = async (node: Redis) => whole.test((await node.call('CLUSTER', 'INFO')) as string)
    await waitFor(async () => (await Promise.all(nodes.map(isWhole))).every(Boolean), {
      ...PATIENCE,
      message: 'all nodes to know the whole Cluster',
    })
  } finally {
    for (const node of nodes) node.disconnect()
  }
}
