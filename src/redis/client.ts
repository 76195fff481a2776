import type { Cluster, Redis } from 'ioredis'
import { GatewayError } from '../errors.ts'
import { keysIn, toCallError } from './call-errors.ts'
import { gatherWrites } from './gather-writes.ts'
import { LUA } from './lua.generated.ts'
import type { Patience } from './patience.ts'
import { areTexts, type RedisValue, ScriptCall } from './script-call.ts'
import { groupBySlot } from './slots.ts'

/** A script, by its file name in camelCase. */
export type ScriptName = keyof typeof LUA

/** Who has waited for a server for so much of the time that a call may take does not begin to wait again. */
const AWAY_SHARE = 0.9

const ANYWHERE: ReadonlySet<string> = new Set(['CLIENT', 'PING'])

/**
 * One connection (on a Cluster: one set of connections) with what the stores need of it. What the server says no to is
 * thrown as it is, for those who know what it means; all else is a GatewayError: `GW_CLOSED` after our own close,
 * `GW_REDIS_FAILED` for a lost connection, a deadline, a key of another kind, or what the server refuses only for now or
 * for want of a right.
 */
export class RedisClient {
  readonly isCluster: boolean
  /** Made by this very ioredis. */
  readonly #isOurs: boolean
  readonly #redis: Redis | Cluster
  readonly #isClosed: () => boolean
  readonly #patience: Patience | undefined
  readonly #losses: () => number
  readonly #awayMs: () => number
  readonly #onAnswer: () => void
  readonly #timeoutMs: number | undefined
  /** A command that tries a server which refuses is under way; it stays so until that is over, whoever waits for it. */
  #isTrying = false

  constructor(options: {
    redis: Redis | Cluster
    isCluster: boolean
    isClosed: () => boolean
    /** Repeats what the server refuses for now. Default: that is thrown. */
    patience?: Patience | undefined
    /** How often the connection was lost so far. Default never. */
    losses?: () => number
    /** How long the connection has been down, in ms. Default never. */
    awayMs?: () => number
    /** Told of each command that was carried out, those apart that any server carries out. */
    onAnswer?: () => void
    /** Longest time a call may take; about that time after the connection went down none is begun. Default as long as it takes. */
    timeoutMs?: number | undefined
  }) {
    this.#redis = options.redis
    this.#isOurs = ScriptCall.suits(options.redis)
    this.isCluster = options.isCluster
    this.#isClosed = options.isClosed
    this.#patience = options.patience
    this.#losses = options.losses ?? (() => 0)
    this.#awayMs = options.awayMs ?? (() => 0)
    this.#onAnswer = options.onAnswer ?? (() => undefined)
    this.#timeoutMs = options.timeoutMs
  }

  /** How often the connection was lost so far: what was under way then may have been carried out without an answer. */
  get losses(): number {
    return this.#losses()
  }

  /** What the names of channels end with, since channels belong to the server, not to one of its databases: '' for 0. */
  get channelTail(): string {
    const { db = 0 } = this.#redis.options as { db?: number }
    return this.isCluster || db === 0 ? '' : `@${db}`
  }

  /** Carries out one command; the shape of its reply is the caller's knowledge. */
  call<Reply>(command: string, ...args: RedisValue[]): Promise<Reply> {
    return this.#run(
      command,
      () => this.#redis.call(command, ...args),
      () => keysIn(command, args),
    )
  }

  /** The same with texts as bytes. */
  callBuffer<Reply>(command: string, ...args: RedisValue[]): Promise<Reply> {
    return this.#run(
      command,
      () => this.#redis.callBuffer(command, ...args),
      () => keysIn(command, args),
    )
  }

  /** Carries out commands in one write where the server allows it; the first that fails rejects. */
  all<Reply>(commands: readonly (readonly [string, ...RedisValue[]])[]): Promise<Reply[]> {
    return Promise.all(commands.map(([name, ...args]) => this.call<Reply>(name, ...args)))
  }

  /** The server's clock, as Unix ms. */
  async now(): Promise<number> {
    const [seconds = 0, micros = 0] = (await this.call<string[]>('TIME')).map(Number)
    return seconds * 1_000 + Math.floor(micros / 1_000)
  }

  /**
   * Runs a script; a server that does not know it yet (new, restarted, failed over) is given its source. All keys must
   * lie in one slot on a Cluster: see {@link bySlot}.
   */
  script<Reply>(name: ScriptName, keys: readonly string[], args: readonly RedisValue[]): Promise<Reply> {
    const { sha, source } = LUA[name]
    const send = async () => {
      try {
        return await this.#evalsha(sha, keys, args)
      } catch (error) {
        if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
        return this.#redis.eval(source, keys.length, ...keys, ...args)
      }
    }
    return this.#run(name, send, () => keys)
  }

  /**
   * Lets those whom the next command tells something hear it before we hear its answer, if that is sent in this turn. A
   * server writes answers in the reverse order in which their receivers first had one, and ours would be written first:
   * with few cores we would be at work when they are to wake up. With an answer of an earlier command in the same
   * write we are the last one.
   */
  hearLast(): void {
    if (this.isCluster || this.#redis.status !== 'ready') return
    gatherWrites(this.#redis)
    // Fails with the command that follows, which says so.
    this.#redis.ping().catch(() => undefined)
  }

  #evalsha(sha: string, keys: readonly string[], args: readonly RedisValue[]): Promise<unknown> {
    if (!this.#isOurs || !areTexts(args)) return this.#redis.evalsha(sha, keys.length, ...keys, ...args)
    return this.#redis.sendCommand(new ScriptCall(sha, keys, args)) as Promise<unknown>
  }

  /**
   * Walks over the keys that match a glob, about `count` at a time, on a Cluster node by node. A key that is there all
   * the time comes at least once. For operators only: the walk sees every key of the server.
   */
  async *scan(pattern: string, count: number): AsyncGenerator<string[]> {
    for (const node of await this.#nodes()) {
      let cursor = '0'
      do {
        const from = cursor
        const [next, keys] = await this.#run<[string, string[]]>(
          'SCAN',
          () => node.call('SCAN', from, 'MATCH', pattern, 'COUNT', count),
          () => [],
        )
        cursor = next
        if (keys.length > 0) yield keys
      } while (cursor !== '0')
    }
  }

  /** The servers that hold keys. */
  async #nodes(): Promise<readonly Redis[]> {
    if (!('nodes' in this.#redis)) return [this.#redis]
    // A Cluster that was not spoken to yet knows of no nodes.
    await this.call('PING')
    return this.#redis.nodes('master')
  }

  /** A command after our own close would wait in a queue that nobody empties. */
  #requireOpen(): void {
    if (this.#isClosed()) throw new GatewayError('GW_CLOSED', { what: 'connection to Redis' })
  }

  /**
   * What waits for a server that stays away is more than memory holds, and would be carried out when nobody waits for it.
   * One that lets us connect and refuses is tried by one command at a time. True for such a try.
   */
  #requireHope(): boolean {
    if (this.#timeoutMs === undefined) return false
    const awayMs = this.#awayMs()
    if (awayMs < this.#timeoutMs * AWAY_SHARE) return false
    if (this.#redis.status === 'ready' && !this.#isTrying) return true
    throw new Error(`the server has been away for ${Math.round(awayMs / 1_000)} s`)
  }

  /** @param keysOf - Those that it touches, for its error. */
  async #run<Reply>(
    operation: string,
    send: () => Promise<unknown>,
    keysOf: () => readonly RedisValue[],
  ): Promise<Reply> {
    const attempt = async () => {
      this.#requireOpen()
      const isTry = this.#requireHope()
      if (isTry) this.#isTrying = true
      gatherWrites(this.#redis)
      try {
        const reply = await send()
        if (!ANYWHERE.has(operation)) this.#onAnswer()
        return reply
      } finally {
        if (isTry) this.#isTrying = false
      }
    }
    try {
      const answer = this.#patience === undefined ? attempt() : this.#patience.run(attempt)
      const reply = await (this.#timeoutMs === undefined ? answer : inTime(answer, this.#timeoutMs))
      return reply as Reply
    } catch (error) {
      throw this.#toError(operation, error, keysOf)
    }
  }

  #toError(operation: string, error: unknown, keysOf: () => readonly RedisValue[]): unknown {
    if (this.#isClosed()) return new GatewayError('GW_CLOSED', { what: 'connection to Redis' }, { cause: error })
    return toCallError(operation, error, { keysOf, isDown: this.#awayMs() > 0 })
  }

  /**
   * Runs `run` once per slot that the items' keys lie in (on one Redis: once) and puts the results back in the items'
   * order.
   */
  async bySlot<Item, Result>(
    items: readonly Item[],
    keyOf: (item: Item) => string,
    run: (items: readonly Item[]) => Promise<readonly Result[]>,
  ): Promise<readonly Result[]> {
    if (!this.isCluster || items.length < 2) return run(items)
    const groups = groupBySlot(items, keyOf)
    const results = new Array<Result>(items.length)
    await Promise.all(
      [...groups.values()].map(async (indexes) => {
        const part = await run(indexes.map((index) => items[index] as Item))
        indexes.forEach((index, position) => {
          results[index] = part[position] as Result
        })
      }),
    )
    return results
  }
}

/** ioredis has such a limit, too, and lets it run for each command that a closed connection forgot. */
async function inTime<T>(answer: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}
