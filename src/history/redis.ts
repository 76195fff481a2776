import { z } from 'zod'
import type { HistoryMessage, HistoryPage, HistoryRole, HistoryStore, NewHistoryMessage } from '../agent/history.ts'
import { errorMessage, GatewayError } from '../errors.ts'
import { createLogger, type Logger } from '../logger.ts'
import { checkId } from '../protocol/ids.ts'
import { parseJson } from '../protocol/json.ts'
import { isOfOneItem, runApart } from '../redis/apart.ts'
import type { RedisClient } from '../redis/client.ts'
import { RedisConnections } from '../redis/connections.ts'
import { resolveRedis } from '../redis/environment.ts'
import { Keys } from '../redis/keys.ts'
import type { RedisOption } from '../redis/options.ts'
import { Batcher } from '../util/batcher.ts'
import { parseOptions } from '../util/parse-options.ts'
import { checkMessages, checkPage, jsonFault, placeId } from './check.ts'

/** Where a {@link RedisHistory} keeps what was said, and how much of it. */
export interface RedisHistoryOptions {
  /** Default from the environment (`REDIS_URL`, or `REDIS_HOST` and so on), else `redis://127.0.0.1:6379/0`. */
  readonly redis?: RedisOption | undefined
  /** First part of every key. Default `queue`. */
  readonly keyPrefix?: string | undefined
  /** Most messages of one session; the oldest go first. Default 1,000. */
  readonly maxMessages?: number | undefined
  /** How long a session's history is kept after its last message, in ms. Default 30 days. */
  readonly ttlMs?: number | undefined
  /** Any pino-shaped logger. Default pino with level `warn`. */
  readonly logger?: Logger | undefined
}

const schema = z.strictObject({
  keyPrefix: z
    .string()
    .regex(/^[^\s{}]{1,128}$/, 'must be 1 to 128 characters without spaces and { }')
    .default('queue'),
  maxMessages: z.number().int().min(1).max(100_000).default(1_000),
  ttlMs: z
    .number()
    .int()
    .min(1)
    .default(30 * 86_400_000),
})

/** Most messages in one call of the server. */
const MESSAGES_PER_CALL = 256
const LENGTH_PER_CALL = 1_048_576

interface Append {
  readonly order: string
  readonly messages: string
  /** How many messages, then of each its time and its text. */
  readonly args: readonly (string | number)[]
  readonly length: number
}

type RawMessage = [number: string, createdAt: string, message: string]

/** A history in Redis: for all workers and clients, up to a number of messages per session, and for a time. */
export class RedisHistory implements HistoryStore, AsyncDisposable {
  readonly name = 'redis'
  readonly #keys: Keys
  readonly #connections: RedisConnections
  readonly #redis: RedisClient
  readonly #limits: readonly [maxMessages: number, ttlMs: number]
  readonly #batcher: Batcher<Append, undefined>

  /** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option. */
  constructor({ redis, logger, ...rest }: RedisHistoryOptions = {}) {
    const { keyPrefix, maxMessages, ttlMs } = parseOptions(schema, rest)
    this.#keys = new Keys(keyPrefix)
    this.#connections = new RedisConnections(resolveRedis(redis), logger ?? createLogger('warn'))
    this.#redis = this.#connections.client('prompt', 'history')
    this.#limits = [maxMessages, ttlMs]
    this.#batcher = new Batcher<Append, undefined>({
      maxItems: MESSAGES_PER_CALL,
      maxWeight: LENGTH_PER_CALL,
      weigh: ({ length }) => length,
      run: (appends) => this.#send(appends),
    })
  }

  async append(sessionId: string, messages: readonly NewHistoryMessage[]): Promise<void> {
    checkId('sessionId', sessionId)
    checkMessages(messages)
    const keys = this.#keys.history(sessionId)
    const appends: Append[] = []
    try {
      for (let from = 0; from < messages.length; from += MESSAGES_PER_CALL) {
        appends.push(toAppend(keys, messages.slice(from, from + MESSAGES_PER_CALL)))
      }
    } catch (error) {
      throw jsonFault(messages) ?? error
    }
    try {
      for (const append of appends) await this.#batcher.add(append)
    } catch (error) {
      if (!isOfOneItem(error)) throw error
      // Taken for trouble that will pass, it would keep the history of all sessions down.
      const details = { field: 'sessionId', value: sessionId, reason: errorMessage(error) }
      throw new GatewayError('GW_INVALID_ARGUMENT', details, { cause: error })
    }
  }

  async list(sessionId: string, page?: HistoryPage): Promise<readonly HistoryMessage[]> {
    const { limit, before } = checkPage(sessionId, page)
    const { order, messages } = this.#keys.history(sessionId)
    const place = [before?.number ?? '', before?.time ?? '']
    const rows = await this.#redis.script<RawMessage[]>('historyList', [order, messages], [limit, ...place])
    return rows.reverse().map((row) => toMessage(sessionId, row))
  }

  async clear(sessionId: string): Promise<void> {
    const { order, messages } = this.#keys.history(checkId('sessionId', sessionId))
    await this.#redis.call('UNLINK', order, messages)
  }

  async close(): Promise<void> {
    this.#connections.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #send(appends: readonly Append[]): Promise<(undefined | Error)[]> {
    const answers = await this.#redis.bySlot(
      appends,
      ({ order }) => order,
      (part) => runApart(part, (some) => this.#keep(some)),
    )
    return [...answers]
  }

  async #keep(appends: readonly Append[]): Promise<undefined[]> {
    const keys: string[] = []
    const args: (string | number)[] = [...this.#limits]
    for (const append of appends) {
      keys.push(append.order, append.messages)
      args.push(...append.args)
    }
    await this.#redis.script('historyAppend', keys, args)
    return appends.map(() => undefined)
  }
}

function toAppend(keys: Pick<Append, 'order' | 'messages'>, messages: readonly NewHistoryMessage[]): Append {
  let length = 0
  const args: (string | number)[] = [messages.length]
  for (const { role, content, messageId = '', fencingToken = 0, createdAt, metadata = {} } of messages) {
    const json = content === '' ? '' : JSON.stringify([content, metadata])
    length += json.length
    args.push(
      createdAt === undefined ? '' : Math.floor(createdAt),
      `${role} ${withoutSpaces(messageId)} ${fencingToken} ${json}`,
    )
  }
  return { order: keys.order, messages: keys.messages, args, length }
}

function toMessage(sessionId: string, [number, time, text]: RawMessage): HistoryMessage {
  const [, role = '', id = '', token = '0', json = ''] = /^([^ ]+) ([^ ]*) (\d+) (.*)$/s.exec(text) ?? []
  const parsed = parseJson(json)
  const [content, metadata] = (parsed.ok ? parsed.value : ['', {}]) as [
    HistoryMessage['content'],
    HistoryMessage['metadata'],
  ]
  const createdAt = Number(time)
  return {
    ...{ id: placeId(createdAt, number), sessionId, role: role as HistoryRole, content },
    messageId: withSpaces(id),
    ...{ metadata, createdAt, fencingToken: Number(token) },
  }
}

/** The script tells the parts of a message apart by their spaces. */
function withoutSpaces(id: string): string {
  return id.replace(/[ \t-\r%]/g, (char) => `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

function withSpaces(text: string): string {
  return text.replace(/%(20|25|09|0[a-d])/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
}
