import { z } from 'zod'
import type { HistoryStore } from '../agent/history.ts'
import { DEFAULT_QUEUE_TIMEOUT_MS } from '../dispatch/queue-limit.ts'
import { checkHistory } from '../history/check.ts'
import { checkLogger, createLogger, type Logger } from '../logger.ts'
import { resolveRedis } from '../redis/environment.ts'
import type { RedisOption, ResolvedRedis } from '../redis/options.ts'
import { DEFAULT_RETENTION } from '../store/retention.ts'
import { parseOptions, requireObject } from '../util/parse-options.ts'
import type { ClientInterceptors } from './interceptors.ts'

/** How a client works; everything has a default. */
export interface GatewayClientOptions {
  /** Default from the environment (`REDIS_URL`, or `REDIS_HOST` and so on), else `redis://127.0.0.1:6379/0`. */
  readonly redis?: RedisOption | undefined
  /** First part of every key; the workers' must be the same. Default `queue`. */
  readonly keyPrefix?: string | undefined
  /** Largest command, in bytes. Default 1 MiB. */
  readonly maxPayloadBytes?: number | undefined
  /** How long the record of a task that this client ends (by a cancel) is kept, in ms. Default one day. */
  readonly resultTtlMs?: number | undefined
  /** How long a session's data stream is kept after an event that this client writes, in ms. Default one day. */
  readonly streamTtlMs?: number | undefined
  /** Most tasks, waiting or running, in a lane that this client sends to; see `whenFull`. Default no limit. */
  readonly maxQueueLength?: number | undefined
  /** Answer `QUEUE_FULL` at once, or wait for room. Default `refuse`. */
  readonly whenFull?: 'refuse' | 'wait' | undefined
  /** How long a send waits for room before it answers `QUEUE_FULL`, in ms. Default 30,000. */
  readonly queueTimeoutMs?: number | undefined
  /** What stands around each send, the first outermost. Default none. */
  readonly interceptors?: ClientInterceptors | readonly ClientInterceptors[] | undefined
  /**
   * Where the workers keep the sessions' messages: the same store as theirs, for `getHistory` and `deleteSession`. Never
   * closed. Default none.
   */
  readonly history?: HistoryStore | undefined
  /** Any pino-shaped logger. Default pino with level `warn`. */
  readonly logger?: Logger | undefined
}

const interceptor = z.strictObject({
  send: z.custom<ClientInterceptors['send']>((value) => typeof value === 'function', 'must be a function').optional(),
})
const ms = z.number().int().min(1)

const schema = z.strictObject({
  keyPrefix: z
    .string()
    .regex(/^[^\s{}]{1,128}$/, 'must be 1 to 128 characters without spaces and { }')
    .default('queue'),
  maxPayloadBytes: z
    .number()
    .int()
    .min(1)
    .max(512 * 1_048_576)
    .default(1_048_576),
  resultTtlMs: ms.default(DEFAULT_RETENTION.resultTtlMs),
  streamTtlMs: ms.default(DEFAULT_RETENTION.streamTtlMs),
  maxQueueLength: z.number().int().min(1).optional(),
  whenFull: z.enum(['refuse', 'wait']).default('refuse'),
  queueTimeoutMs: ms.default(DEFAULT_QUEUE_TIMEOUT_MS),
  interceptors: z.union([z.array(interceptor), interceptor]).default([]),
})

export type ResolvedClientOptions = Readonly<Omit<z.infer<typeof schema>, 'interceptors'>> & {
  readonly interceptors: readonly ClientInterceptors[]
  readonly redis: ResolvedRedis
  readonly logger: Logger
  readonly history: HistoryStore | undefined
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option and the value. */
export function resolveClientOptions(options: GatewayClientOptions): ResolvedClientOptions {
  requireObject('the options of GatewayClient', options)
  const { redis, logger, history, ...rest } = options
  return Object.freeze({
    ...parseOptions(schema, rest),
    // As they were given: what comes of the check is a copy, which is not what a method knows as `this`.
    interceptors: [rest.interceptors ?? []].flat(),
    redis: resolveRedis(redis),
    logger: checkLogger(logger ?? createLogger('warn')),
    history: history === undefined ? undefined : checkHistory(history),
  })
}
