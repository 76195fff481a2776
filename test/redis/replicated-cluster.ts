import { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import type { LocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { formCluster, masterOf, startNodes } from '../support/cluster.ts'

const MASTERS = 3
const ARGS = [
  ...['--cluster-node-timeout', '1000', '--cluster-replica-validity-factor', '0'],
  ...['--repl-diskless-sync-delay', '0'],
]
const PATIENCE = { timeoutMs: 30_000 }

/** A node of a Cluster, and a connection to this very node. */
interface Node {
  readonly server: LocalRedis
  readonly bare: Redis
}

/** A master with its replica. */
export interface Shard {
  readonly master: Node
  readonly replica: Node
  /** True if this key's slot is one of the shard's. */
  holds(key: string): boolean
}

/** A Cluster of three masters that share the slots, each with one replica. It ends with the test. */
export async function startReplicatedCluster(): Promise<Shard[]> {
  const servers = await startNodes(2 * MASTERS, ARGS)
  for (const server of servers) onTestFinished(() => server.stop())
  await formCluster(servers, MASTERS)
  const nodes = servers.map(connect)
  const shards = nodes.slice(0, MASTERS).map((master, index) => ({
    ...{ master, replica: nodes[index + MASTERS] as Node },
    holds: (key: string) => masterOf(key, MASTERS) === index,
  }))
  for (const { master, replica } of shards)
    await replica.bare.call('CLUSTER', 'REPLICATE', (await master.bare.call('CLUSTER', 'MYID')) as string)
  await allOf(
    shards.map(({ replica }) => replica),
    ['INFO', 'replication'],
    /master_link_status:up/,
  )
  // Who does not know yet whose replica the others are could not let them take over.
  await allOf(nodes, ['CLUSTER', 'NODES'], /(?:[ ,]slave [\s\S]*){3}/)
  return shards
}

function connect(server: LocalRedis): Node {
  const bare = new Redis(server.url, { disconnectTimeout: 100 })
  bare.on('error', () => undefined)
  onTestFinished(() => bare.disconnect())
  return { server, bare }
}

/** Waits until each of the nodes gives such an answer. */
async function allOf(nodes: readonly Node[], [name, ...args]: [string, ...string[]], answer: RegExp): Promise<void> {
  const gives = async ({ bare }: Node) => answer.test((await bare.call(name, ...args)) as string)
  await waitFor(async () => (await Promise.all(nodes.map(gives))).every(Boolean), {
    ...PATIENCE,
    message: `${[name, ...args].join(' ')} of all to match ${answer}`,
  })
}

/** Waits until the replica has become the master. */
export async function promotion({ replica }: Shard): Promise<void> {
  await allOf([replica], ['INFO', 'replication'], /role:master/)
  await allOf([replica], ['CLUSTER', 'INFO'], /cluster_state:ok/)
}
