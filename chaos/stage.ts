import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger, GatewayClient } from 'byclaw-gateway-sdk'
import type { Cluster, Redis } from 'ioredis'
import { Keys } from '../src/redis/keys.ts'
import { type Network, redisOf, type Way } from '../test/support/network.ts'
import { Member } from './fleet.ts'
import { Journal } from './journal.ts'
import { Load } from './load.ts'
import type { Sabotage } from './sabotage.ts'
import { type Layout, Servers } from './servers.ts'
import { CAPABILITY, MAX_ATTEMPTS, MAX_DELIVERIES, PIT, PIT_MAX_DELIVERIES } from './work.ts'
import type { WorkerSettings } from './worker.ts'

export const PREFIX = 'chaos'
const SHUTDOWN_MS = 1_000
const CONCURRENCY = 24

/** When tasks that wait leave memory: soon, never, or each worker another time. */
export const SUSPENSIONS = ['mixed', 'soon', 'never'] as const

export type Suspension = (typeof SUSPENSIONS)[number]

const SUSPEND_AFTER_MS = { soon: 50, later: 400, never: 3_600_000 } as const

export interface StageOptions {
  readonly suspension: Suspension
  /** What the workers have lost, for a test of the audit. */
  readonly sabotage?: Sabotage
  readonly workers: number
  readonly leaseMs: number
  /** Default one server. */
  readonly layout?: Layout
  /** Tasks that a worker runs at a time. Default 24. */
  readonly concurrency?: number
}

/** All that a run needs: a Redis, the fleet, the senders and readers, each behind a network that can be troubled. */
export class Stage {
  readonly folder: string
  readonly servers: Servers
  readonly journal: Journal
  /** A connection that no trouble is made for, but that Redis itself may be away. */
  readonly redis: Redis | Cluster
  /** The way of those who send and read. */
  readonly clientNetwork: Network
  readonly load: Load
  /** The workers, all alike; the last member is the pit. */
  readonly members: readonly Member[]
  readonly #client: GatewayClient
  #closed: Promise<void> | undefined

  private constructor(
    folder: string,
    servers: Servers,
    redis: Redis | Cluster,
    clientNetwork: Network,
    members: readonly Member[],
  ) {
    this.folder = folder
    this.servers = servers
    this.redis = redis
    this.clientNetwork = clientNetwork
    this.members = members
    this.journal = new Journal(journalPath(folder))
    const logger = createLogger('silent')
    this.#client = new GatewayClient({ redis: redisOf(clientNetwork.way), keyPrefix: PREFIX, logger })
    this.load = new Load(this.#client, this.journal)
  }

  static async set(options: StageOptions): Promise<Stage> {
    const folder = mkdtempSync(join(tmpdir(), 'byclaw-chaos-'))
    const servers = await Servers.start(options.layout ?? 'single')
    const names = [...Array.from({ length: options.workers }, (_, index) => `w${index}`), PIT]
    const members = await Promise.all(
      names.map((name, index) =>
        Member.create({
          ...{ name, servers, logPath: join(folder, `${name}.log`) },
          settings: (redis) => workerSettings({ redis, name, folder, index, ...options }),
        }),
      ),
    )
    const stage = new Stage(folder, servers, await servers.connect(), await servers.lay(), members)
    await Promise.all(members.map((member) => member.start()))
    return stage
  }

  /** True if the workers read the lanes of urgent and of less urgent tasks. */
  async hasLanes(): Promise<boolean> {
    return (await this.redis.exists(new Keys(PREFIX).control(CAPABILITY, 'high'))) === 1
  }

  get journalPath(): string {
    return journalPath(this.folder)
  }

  /** Lets everything work again. */
  calm(): void {
    for (const { network } of this.members) network.pass()
    this.clientNetwork.pass()
  }

  /** Stops the workers in order. */
  async stopWorkers(): Promise<void> {
    await Promise.all(this.members.map((member) => member.stop()))
  }

  /** Ends everything at once. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    for (const member of this.members) member.abandon()
    this.load.giveUp()
    await this.#client.close()
    this.redis.disconnect()
    this.journal.close()
    await this.servers.stop()
  }

  /** Removes journal and logs. */
  clear(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

function journalPath(folder: string): string {
  return join(folder, 'journal.jsonl')
}

function workerSettings(
  options: StageOptions & {
    readonly redis: Way
    readonly name: string
    readonly folder: string
    readonly index: number
  },
): WorkerSettings {
  const isPit = options.name === PIT
  const mixed = (['soon', 'later', 'never'] as const)[options.index % 3] as 'soon'
  const suspension = options.suspension === 'mixed' ? mixed : options.suspension
  return {
    journal: journalPath(options.folder),
    capability: isPit ? PIT : CAPABILITY,
    redis: options.redis,
    ...(options.sabotage === undefined ? {} : { sabotage: options.sabotage }),
    options: {
      ...{ workerId: options.name, keyPrefix: PREFIX, leaseMs: options.leaseMs },
      maxConcurrency: isPit ? 1 : (options.concurrency ?? CONCURRENCY),
      maxDeliveries: isPit ? PIT_MAX_DELIVERIES : MAX_DELIVERIES,
      suspendAfterMs: SUSPEND_AFTER_MS[suspension],
      shutdownTimeoutMs: SHUTDOWN_MS,
      workspaceDir: join(options.folder, 'workspace'),
      retry: { maxAttempts: MAX_ATTEMPTS, backoff: { type: 'fixed', delayMs: 300 } },
    },
  }
}
