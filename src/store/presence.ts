import { GatewayError } from '../errors.ts'
import { parseJson } from '../protocol/json.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { type Listed, toListed } from './fleet.ts'

/** A worker counts as present for this many leases after its last sign of life. */
const PRESENCE_LEASES = 3
/** Who was listed so long ago is looked at by whoever begins: he may have ended without a word. */
export const SILENT_MS = 3_600_000

/** A live worker, as others see it. Times are Unix ms by Redis' clock. */
export interface WorkerInfo {
  readonly workerId: string
  readonly capabilities: readonly string[]
  /** Tasks in flight at its last heartbeat. */
  readonly running: number
  readonly maxConcurrency: number
  readonly host: string
  readonly pid: number
  /** Version of this library. */
  readonly version: string
  /** The versions of the agent's code whose tasks it goes on with, its own first; none if it declares none. */
  readonly agentVersions: readonly string[]
  readonly startedAt: number
  readonly lastSeenAt: number
}

/** What a worker tells of itself. */
export interface WorkerIdentity {
  readonly workerId: string
  /** New for each process that bears the id. */
  readonly incarnation: string
  readonly capabilities: readonly string[]
  readonly maxConcurrency: number
  readonly host: string
  readonly pid: number
  /** Names that in which the process id means one process; undefined where that is not known. */
  readonly pidSpace?: string | undefined
  readonly version: string
  readonly agentVersions: readonly string[]
  /** A worker silent for this long loses its tasks. */
  readonly leaseMs: number
}

/** The process that holds a worker id. */
export interface WorkerHolder {
  readonly incarnation: string
  readonly host: string
  readonly pid: number
  readonly pidSpace: string | undefined
  readonly leaseMs: number
  readonly lastSeenAt: number
  /** How long it has given no sign of life, in ms by Redis' clock. */
  readonly silentMs: number
}

/** What a claim for a worker id met. */
export type ClaimAnswer =
  | { readonly status: 'claimed'; readonly startedAt: number }
  | { readonly status: 'held'; readonly holder: WorkerHolder }

/** Both ends of the workers' presence: who is alive, what he can do, how loaded he is. */
export class Presence {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /**
   * Claims a worker id.
   *
   * @param knownDead - Incarnation whose process is known to be gone; it does not stand in the way.
   */
  async claim(identity: WorkerIdentity, knownDead = ''): Promise<ClaimAnswer> {
    const reply = await this.#redis.script<[1, string] | [0, string, string[]]>(
      'claimWorker',
      [this.#keys.worker(identity.workerId)],
      [identity.incarnation, identity.leaseMs * PRESENCE_LEASES, knownDead, ...identityFields(identity), 'running', 0],
    )
    if (reply[0] === 1) {
      await this.#index(identity, reply[1])
      await Promise.all(this.#indexes(identity.capabilities).map((index) => this.#sweep(index, reply[1])))
      return { status: 'claimed', startedAt: Number(reply[1]) }
    }
    const fields = pairs(reply[2])
    const lastSeenAt = Number(fields.get('last_seen_at') ?? 0)
    return {
      status: 'held',
      holder: {
        incarnation: fields.get('incarnation') ?? '',
        host: fields.get('host') ?? '',
        pid: Number(fields.get('pid') ?? 0),
        pidSpace: fields.get('pid_space'),
        leaseMs: Number(fields.get('lease_ms') ?? 0),
        lastSeenAt,
        silentMs: Number(reply[1]) - lastSeenAt,
      },
    }
  }

  /**
   * Gives a sign of life.
   *
   * @throws GatewayError `GW_WORKER_ID_TAKEN` when another process holds the id.
   */
  async beat(identity: WorkerIdentity, startedAt: number, running: number): Promise<void> {
    const now = await this.#redis.script<string>(
      'beat',
      [this.#keys.worker(identity.workerId)],
      [
        identity.incarnation,
        identity.leaseMs * PRESENCE_LEASES,
        ...identityFields(identity),
        'running',
        running,
        'started_at',
        startedAt,
      ],
    )
    if (now === '') {
      throw new GatewayError('GW_WORKER_ID_TAKEN', { workerId: identity.workerId, host: 'unknown', pid: 'unknown' })
    }
    await this.#index(identity, now)
  }

  /** False if another process holds the worker's id. */
  async isHolder({ workerId, incarnation }: WorkerIdentity): Promise<boolean> {
    const holder = await this.#redis.call<string | null>('HGET', this.#keys.worker(workerId), 'incarnation')
    return holder === null || holder === incarnation
  }

  /** Takes the worker off all lists, unless another process bears its id by now. */
  async leave(identity: WorkerIdentity): Promise<void> {
    const { workerId, capabilities, incarnation } = identity
    const seenAt = await this.#redis.script<string>('leave', [this.#keys.worker(workerId)], [incarnation])
    if (seenAt === '') return
    // The next of this id may be on the lists by now.
    await Promise.all(this.#indexes(capabilities).map((index) => this.#unlist(index, [{ workerId, seenAt }])))
  }

  /** Ids of the live workers that offer a capability. */
  async online(capability: string): Promise<string[]> {
    const index = this.#keys.capability(capability)
    const listed = await this.#listed(index)
    const offers = await this.#redis.all<string | null>(
      listed.map(({ workerId }) => ['HGET', this.#keys.worker(workerId), 'capabilities'] as const),
    )
    // One that came back under its id may have left a capability behind.
    const isOffered = offers.map((names) => names?.includes(JSON.stringify(capability)) === true)
    await this.#unlist(
      index,
      listed.filter((_, position) => !isOffered[position]),
    )
    return listed.flatMap(({ workerId }, position) => (isOffered[position] ? [workerId] : []))
  }

  /** All live workers, by id. */
  async list(): Promise<WorkerInfo[]> {
    const listed = await this.#listed(this.#keys.workers())
    const hashes = await this.#redis.all<string[]>(
      listed.map(({ workerId }) => ['HGETALL', this.#keys.worker(workerId)] as const),
    )
    await this.#unlist(
      this.#keys.workers(),
      listed.filter((_, position) => hashes[position]?.length === 0),
    )
    return hashes
      .flatMap((flat, index) =>
        flat.length === 0 ? [] : [toWorkerInfo((listed[index] as Listed).workerId, pairs(flat))],
      )
      .sort((a, b) => (a.workerId < b.workerId ? -1 : 1))
  }

  async #listed(index: string, upTo: string | number = '+inf'): Promise<Listed[]> {
    return toListed(await this.#redis.call<string[]>('ZRANGEBYSCORE', index, '-inf', upTo, 'WITHSCORES'))
  }

  /**
   * A worker lives as long as its hash does, which has a TTL; the indexes are cleaned by those who read them, and by those who
   * begin. Who has given a sign of life meanwhile stays.
   */
  async #unlist(index: string, gone: readonly Listed[]): Promise<void> {
    if (gone.length === 0) return
    await this.#redis.script(
      'unlist',
      [index],
      gone.flatMap(({ workerId, seenAt }) => [workerId, seenAt]),
    )
  }

  /** Takes those off an index that have ended without a word, whether anybody ever reads it or not. */
  async #sweep(index: string, now: string): Promise<void> {
    const silent = await this.#listed(index, Number(now) - SILENT_MS)
    const exist = await this.#redis.all<number>(
      silent.map(({ workerId }) => ['EXISTS', this.#keys.worker(workerId)] as const),
    )
    await this.#unlist(
      index,
      silent.filter((_, position) => exist[position] === 0),
    )
  }

  async #index({ workerId, capabilities }: WorkerIdentity, now: string): Promise<void> {
    await this.#redis.all(this.#indexes(capabilities).map((index) => ['ZADD', index, now, workerId] as const))
  }

  #indexes(capabilities: readonly string[]): string[] {
    return [this.#keys.workers(), ...capabilities.map((capability) => this.#keys.capability(capability))]
  }
}

function identityFields(identity: WorkerIdentity): (string | number)[] {
  return [
    ...['capabilities', JSON.stringify(identity.capabilities)],
    ...['max_concurrency', identity.maxConcurrency],
    ...['host', identity.host],
    ...['pid', identity.pid],
    ...(identity.pidSpace === undefined ? [] : ['pid_space', identity.pidSpace]),
    ...['lease_ms', identity.leaseMs],
    ...['version', identity.version],
    ...(identity.agentVersions.length === 0 ? [] : ['agent_versions', JSON.stringify(identity.agentVersions)]),
  ]
}

function toWorkerInfo(workerId: string, fields: Map<string, string>): WorkerInfo {
  const names = (name: string) => toNames(fields.get(name))
  const number = (name: string) => Number(fields.get(name) ?? 0)
  return {
    workerId,
    capabilities: names('capabilities'),
    running: number('running'),
    maxConcurrency: number('max_concurrency'),
    host: fields.get('host') ?? '',
    pid: number('pid'),
    version: fields.get('version') ?? '',
    agentVersions: names('agent_versions'),
    startedAt: number('started_at'),
    lastSeenAt: number('last_seen_at'),
  }
}

function toNames(text = '[]'): string[] {
  const json = parseJson(text)
  return json.ok && Array.isArray(json.value) ? json.value.map(String) : []
}

function pairs(flat: readonly string[]): Map<string, string> {
  const map = new Map<string, string>()
  for (let i = 0; i + 1 < flat.length; i += 2) map.set(flat[i] as string, flat[i + 1] as string)
  return map
}
