import type { Socket } from 'node:net'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { RedisClient } from './client.ts'
import { ConnectionState } from './connection-state.ts'
import { makeListenersAgain, onListener } from './listeners.ts'
import type { ResolvedRedis } from './options.ts'
import { isOnItsWay, Patience } from './patience.ts'
import { hearResubscriptions } from './resubscriptions.ts'
import { keepTalking, SILENCE_MS, watchSilence } from './watchdog.ts'

/**
 * What a connection is for decides how it behaves in trouble. A connection that is dead is noticed within one to
 * two seconds (see watchdog.ts); it is then made anew.
 *
 * - `patient`: a worker's commands. They wait for the server to come back and are sent again, whatever it takes; all
 *   scripts bear being repeated. What a living server refuses for now (no memory, for instance) is repeated too.
 * - `pulse`: the same without repeating what is refused: signs of life, each of which is followed by a newer one.
 * - `prompt`: a client's commands. They fail after ten seconds, because somebody is waiting.
 * - `blocking`: blocking reads. Nothing is sent again; the loop that reads decides.
 * - `subscriber`: pub/sub. Resubscribes by itself.
 */
export type ConnectionRole = 'patient' | 'pulse' | 'prompt' | 'blocking' | 'subscriber'

/**
 * Longest time a blocking read waits on the server. Half of the silence that counts as death, so that a dead
 * connection is told from an idle one soon.
 */
export const BLOCK_MS = SILENCE_MS / 2

const PROMPT_TIMEOUT_MS = 10_000
/**
 * How often a command of somebody who waits is sent to where a Cluster says that its slot is: a node that is away costs
 * up to two tries in 100 ms until its replica has taken over. Others begin anew when ioredis gives up after its default.
 */
const PROMPT_REDIRECTIONS = PROMPT_TIMEOUT_MS / 50
const REDIRECTIONS = 16
/** Longest pause between two attempts to connect: recovery is promised within 2 s of the server's return. */
const RETRY_MOST_MS = 500
/** What says that this server is not, or not yet, the one to ask: connect again, to whatever is the master then. */
const NOT_HERE = /(?:^|: -)(?:READONLY|LOADING|MASTERDOWN|UNBLOCKED force) /

/** Opens a process' connections to one Redis, watches them, and closes them all. */
export class RedisConnections {
  readonly target: string
  readonly isCluster: boolean
  readonly #resolved: ResolvedRedis
  readonly #logger: Logger
  /** The open connections, and what ends the watch over each. */
  readonly #open = new Map<Redis | Cluster, () => void>()

  constructor(resolved: ResolvedRedis, logger: Logger) {
    this.#resolved = resolved
    this.#logger = logger
    this.target = resolved.target
    this.isCluster = resolved.kind === 'cluster' || (resolved.kind === 'instance' && resolved.isCluster)
  }

  /**
   * A connection that opens with its first command.
   *
   * @param name - What the log calls it. Default its role.
   */
  client(role: 'patient' | 'pulse' | 'prompt' | 'blocking', name: string = role): RedisClient {
    const { isCluster } = this
    const patience = this.#patienceOf(role)
    const state = new ConnectionState(this.#logger, { target: this.target, connection: name })
    const redis = this.#create(role, state, () => patience?.close())
    const isClosed = () => !this.#open.has(redis)
    const timeoutMs = role === 'prompt' ? PROMPT_TIMEOUT_MS : undefined
    const news = { losses: () => state.losses, awayMs: () => state.awayMs, onAnswer: () => state.answered() }
    return new RedisClient({ redis, isCluster, isClosed, patience, timeoutMs, ...news })
  }

  /**
   * A pub/sub connection that opens with its first subscription.
   *
   * @param onForgotten - Told of channels which the server does not let us hear again after a loss: they are none of this
   * connection any more.
   */
  subscriber(onForgotten: (channels: readonly string[]) => void = ignore): Redis | Cluster {
    const state = new ConnectionState(this.#logger, { target: this.target, connection: 'subscriber' })
    const redis = this.#create('subscriber', state, () => hush())
    const hush = keepTalking(redis)
    hearResubscriptions(redis, (channels, reason) => {
      this.#logger.warn(
        { target: this.target, reason },
        'Redis refused to push events again; they are looked for instead',
      )
      onForgotten(channels)
    })
    return redis
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
    for (const [redis, unwatch] of open) {
      unwatch()
      redis.disconnect()
      // What a Cluster is about to send again would be put into a queue that nobody empties.
      if ('nodes' in redis) redis.options.enableOfflineQueue = false
      rejectPending(redis)
    }
  }

  #lastFault: string | undefined

  #create(role: ConnectionRole, state: ConnectionState, onClose: () => void): Redis | Cluster {
    const redis = this.#build(role, state)
    const unwatch = watchSilence(redis, state)
    this.#open.set(redis, () => {
      unwatch()
      state.close()
      onClose()
    })
    redis.on('error', (error: Error) => {
      this.#lastFault = errorMessage(error)
      if (isOfSelect(error)) leaveDatabase(redis, state, this.#lastFault)
      else state.lost(this.#lastFault)
    })
    if ('nodes' in redis) {
      makeListenersAgain(redis)
      redis.on('+node', watchSockets)
      onListener(redis, watchSocketsFromNowOn)
    } else watchSockets(redis)
    // A server that leaves in order closes the socket without an error.
    redis.on('close', () => state.lost('the server closed the connection'))
    redis.on('ready', () => {
      this.#lastFault = undefined
      state.ready()
    })
    return redis
  }

  #patienceOf(role: ConnectionRole): Patience | undefined {
    const about = { target: this.target }
    if (role === 'patient') return new Patience(this.#logger, about)
    if (role !== 'prompt' || !this.isCluster) return undefined
    // Whatever else a Cluster says of its slots ioredis hears and asks again.
    return new Patience(this.#logger, about, { isWaitedFor: isOnItsWay, mostMs: PROMPT_TIMEOUT_MS })
  }

  #build(role: ConnectionRole, state: ConnectionState): Redis | Cluster {
    const own = behaviour(role, state)
    const resolved = this.#resolved
    if (resolved.kind === 'standalone') return new Redis({ ...resolved.options, ...own })
    if (resolved.kind === 'instance') {
      const { instance } = resolved
      if (instance instanceof Cluster || 'nodes' in instance) {
        const cluster = instance as Cluster
        return cluster.duplicate(undefined, clusterBehaviour(role, own, cluster.options.redisOptions ?? {}))
      }
      return instance.duplicate(own)
    }
    const { nodes, options } = resolved
    return new Cluster(nodes, { ...options, ...clusterBehaviour(role, own, options.redisOptions ?? {}) })
  }
}

interface Connecting {
  readonly connector: { connect(...args: unknown[]): Promise<Socket> }
}

/**
 * ioredis 6.0 leaves a listener at a socket for each command that is refused on it, of which a hundred may be under way, and
 * hears the first error of a socket only: another one, such as a last word of TLS to who closes while he connects, would
 * end the process.
 */
function watchSockets(redis: Redis): void {
  const { connector } = redis as unknown as Connecting
  const connect = connector.connect.bind(connector)
  connector.connect = async (...args) => {
    const socket = await connect(...args)
    return socket.setMaxListeners(0).on('error', ignore)
  }
}

/** The same for a connection that may be on its way already. */
function watchSocketsFromNowOn(redis: Redis): void {
  redis.on('connect', () => (redis as unknown as { stream: Socket }).stream.setMaxListeners(0).on('error', ignore))
}

/** True if the server does not let us have the database that was asked for. */
function isOfSelect(error: Error & { readonly command?: { readonly name: string } }): boolean {
  return error.command?.name === 'select'
}

/** ioredis would go on in database 0, where others may live: what is asked waits for an attempt that succeeds instead. */
function leaveDatabase(redis: Redis | Cluster, state: ConnectionState, reason: string): void {
  state.refused(reason)
  redis.disconnect(true)
}

interface Queued {
  flushQueue?: (error: Error) => void
  readonly prevCommandQueue?: { shift(): { command: { reject(error: Error): void } } | undefined } | null
}

/**
 * ioredis 6.0, disconnected while it waits for its next attempt to connect, never settles the commands in its queue: no
 * socket is there whose closing would do it.
 */
function rejectPending(redis: Redis | Cluster): void {
  const queued = redis as unknown as Queued
  const reason = new Error('Connection is closed.')
  queued.flushQueue?.(reason)
  // What waited to be sent again, if a connection in between was lost before it was ready.
  for (let item = queued.prevCommandQueue?.shift(); item; item = queued.prevCommandQueue?.shift()) {
    item.command.reject(reason)
  }
}

function behaviour(role: ConnectionRole, state: ConnectionState): RedisOptions {
  // Quick at first; a server that answers and refuses is no reason to begin afresh.
  const pauseOf = (times: number) => {
    const pause = 25 * 2 ** Math.min(times + state.refusals, 6)
    return Math.min(pause, RETRY_MOST_MS) * (0.8 + Math.random() * 0.2)
  }
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
    // The watchdog's work.
    socketTimeout: undefined,
    connectTimeout: SILENCE_MS,
    sentinelCommandTimeout: SILENCE_MS,
    // A server that loads its data is asked again so often.
    maxLoadingRetryTime: RETRY_MOST_MS,
    // After this a socket that does not close in order is destroyed; an ended process waits no longer.
    disconnectTimeout: 500,
    maxRetriesPerRequest: null,
    retryStrategy: pauseOf,
    sentinelRetryStrategy: pauseOf,
    // 2: reconnect, and send the command again.
    reconnectOnError: (error) => {
      if (!NOT_HERE.test(error.message)) return false
      state.refused(error.message)
      return 2
    },
  }
  switch (role) {
    case 'patient':
    case 'pulse':
    case 'prompt':
      return common
    case 'blocking':
      // Without a limit of retries ioredis would drop an interrupted read without settling its promise.
      return { ...common, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 }
    case 'subscriber':
      return { ...common, autoResubscribe: true }
  }
}

function clusterBehaviour(role: ConnectionRole, own: RedisOptions, given: object) {
  const { lazyConnect, retryStrategy, ...redisOptions } = own
  return {
    lazyConnect: lazyConnect === true,
    // A Cluster client has a queue of its own besides those of its nodes.
    enableOfflineQueue: true,
    clusterRetryStrategy: retryStrategy as (times: number) => number,
    shardedSubscribers: role === 'subscriber',
    maxRedirections: role === 'prompt' ? PROMPT_REDIRECTIONS : REDIRECTIONS,
    redisOptions: { ...given, ...redisOptions },
  }
}

function ignore(): void {
  // The first one closes the socket.
}
