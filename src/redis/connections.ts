import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { RedisClient } from './client.ts'
import type { ResolvedRedis } from './options.ts'

/**
 * What a connection is for decides how it behaves in trouble:
 *
 * - `patient`: a worker's commands. They wait for the server to come back and are sent again, whatever it takes; all
 *   scripts bear being repeated.
 * - `prompt`: a client's commands. They fail after `commandTimeoutMs`, because somebody is waiting.
 * - `blocking`: blocking reads. Nothing is sent again; the loop that reads decides. A read that outlives its block time
 *   means a dead socket, which is then dropped.
 * - `subscriber`: pub/sub. Resubscribes by itself.
 */
export type ConnectionRole = 'patient' | 'prompt' | 'blocking' | 'subscriber'

/** Longest time a blocking read waits on the server. */
export const BLOCK_MS = 5_000

const PROMPT_TIMEOUT_MS = 10_000
const SILENCE_MS = 10_000

/** Opens a process' connections to one Redis, watches them, and closes them all. */
export class RedisConnections {
  readonly target: string
  readonly isCluster: boolean
  readonly #resolved: ResolvedRedis
  readonly #logger: Logger
  readonly #open = new Set<Redis | Cluster>()

  constructor(resolved: ResolvedRedis, logger: Logger) {
    this.#resolved = resolved
    this.#logger = logger
    this.target = resolved.target
    this.isCluster = resolved.kind === 'cluster' || (resolved.kind === 'instance' && resolved.isCluster)
  }

  /** A connection that opens with its first command. */
  client(role: 'patient' | 'prompt' | 'blocking'): RedisClient {
    const redis = this.#create(role)
    return new RedisClient(redis, this.isCluster, () => !this.#open.has(redis))
  }

  /** A pub/sub connection that opens with its first subscription. */
  subscriber(): Redis | Cluster {
    return this.#create('subscriber')
  }

  /**
   * Opens a connection now and waits until it answers.
   *
   * @throws GatewayError `GW_REDIS_UNREACHABLE` when it does not within `timeoutMs`.
   */
  async check(client: RedisClient, timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(this.#lastFault ?? `no answer within ${timeoutMs} ms`)), timeoutMs)
    })
    try {
      await Promise.race([client.call('PING'), deadline])
    } catch (cause) {
      throw new GatewayError('GW_REDIS_UNREACHABLE', { target: this.target, reason: errorMessage(cause) }, { cause })
    } finally {
      clearTimeout(timer)
    }
  }

  /** Closes every connection at once; commands under way are rejected. */
  close(): void {
    const open = [...this.#open]
    this.#open.clear()
    for (const redis of open) {
      redis.disconnect()
      rejectPending(redis)
    }
  }

  #lastFault: string | undefined

  #create(role: ConnectionRole): Redis | Cluster {
    const redis = this.#build(role)
    this.#open.add(redis)
    this.#watch(redis, role)
    return redis
  }

  #build(role: ConnectionRole): Redis | Cluster {
    const own = behaviour(role)
    const resolved = this.#resolved
    if (resolved.kind === 'standalone') return new Redis({ ...resolved.options, ...own })
    if (resolved.kind === 'instance') {
      const { instance } = resolved
      if (instance instanceof Cluster || 'nodes' in instance) {
        return (instance as Cluster).duplicate(
          undefined,
          clusterBehaviour(role, (instance as Cluster).options.redisOptions ?? {}),
        )
      }
      return instance.duplicate(own)
    }
    return new Cluster(resolved.nodes, clusterBehaviour(role, resolved.options.redisOptions ?? {}))
  }

  /** One log line when a connection is lost and one when it is back, however often ioredis tries in between. */
  #watch(redis: Redis | Cluster, role: ConnectionRole): void {
    let down = false
    const lost = (reason: string) => {
      if (down || !this.#open.has(redis)) return
      down = true
      this.#logger.warn({ target: this.target, connection: role, reason }, 'Redis connection lost')
    }
    redis.on('error', (error: Error) => {
      this.#lastFault = errorMessage(error)
      lost(this.#lastFault)
    })
    // A server that leaves in order closes the socket without an error.
    redis.on('close', () => {
      forgetSocketTimer(redis)
      lost('the server closed the connection')
    })
    redis.on('ready', () => {
      this.#lastFault = undefined
      if (!down) return
      down = false
      this.#logger.info({ target: this.target, connection: role }, 'Redis connection is back')
    })
  }
}

/**
 * ioredis 6.0, disconnected while it waits for its next attempt to connect, never settles the commands in its queue: no
 * socket is there whose closing would do it.
 */
function rejectPending(redis: Redis | Cluster): void {
  const queued = redis as unknown as { flushQueue?: (error: Error) => void }
  queued.flushQueue?.(new Error('Connection is closed.'))
}

/** ioredis 6.0 leaves the timer of a dead socket running, which keeps an ended process alive for its rest. */
function forgetSocketTimer(redis: Redis | Cluster): void {
  const timed = redis as unknown as { socketTimeoutTimer?: NodeJS.Timeout | undefined }
  clearTimeout(timed.socketTimeoutTimer)
  timed.socketTimeoutTimer = undefined
}

function behaviour(role: ConnectionRole): RedisOptions {
  const common: RedisOptions = {
    // What a client of the caller's may have set otherwise is spelled out, too.
    lazyConnect: true,
    keyPrefix: '',
    enableOfflineQueue: true,
    stringNumbers: false,
    commandTimeout: undefined,
    autoResendUnfulfilledCommands: true,
    protocol: 2,
    enableAutoPipelining: false,
    connectTimeout: 5_000,
    // After this a socket that does not close in order is destroyed; an ended process waits no longer.
    disconnectTimeout: 500,
    maxRetriesPerRequest: null,
    // Quick at first and never slower than once a second: recovery is promised within 2 s of the server's return.
    retryStrategy: (times) => Math.min(25 * 2 ** Math.min(times, 6), 1_000) * (0.8 + Math.random() * 0.2),
    // 2: reconnect, and send the command again, to whatever is the master then.
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
  }
  switch (role) {
    case 'patient':
      return { ...common, socketTimeout: SILENCE_MS }
    case 'prompt':
      return { ...common, socketTimeout: SILENCE_MS, commandTimeout: PROMPT_TIMEOUT_MS }
    case 'blocking':
      // Without a limit of retries ioredis would drop an interrupted read without settling its promise.
      return {
        ...common,
        socketTimeout: BLOCK_MS + 1_000,
        autoResendUnfulfilledCommands: false,
        maxRetriesPerRequest: 0,
      }
    case 'subscriber':
      return { ...common, autoResubscribe: true }
  }
}

function clusterBehaviour(role: ConnectionRole, given: object) {
  const { lazyConnect, retryStrategy, ...redisOptions } = behaviour(role)
  return {
    lazyConnect: lazyConnect === true,
    clusterRetryStrategy: retryStrategy as (times: number) => number,
    shardedSubscribers: role === 'subscriber',
    redisOptions: { ...given, ...redisOptions },
  }
}
