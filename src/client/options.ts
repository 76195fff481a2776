import { z } from 'zod'
import { createLogger, type Logger } from '../logger.ts'
import { type RedisOption, type ResolvedRedis, resolveRedisOption } from '../redis/options.ts'
import { parseOptions } from '../util/parse-options.ts'

/** How a client works; everything has a default. */
export interface GatewayClientOptions {
  /** Default `redis://127.0.0.1:6379/0`. */
  readonly redis?: RedisOption
  /** First part of every key; the workers' must be the same. Default `queue`. */
  readonly keyPrefix?: string
  /** Largest command, in bytes. Default 1 MiB. */
  readonly maxPayloadBytes?: number
  /** Any pino-shaped logger. Default pino with level `warn`. */
  readonly logger?: Logger
}

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
})

export type ResolvedClientOptions = Readonly<z.infer<typeof schema>> & {
  readonly redis: ResolvedRedis
  readonly logger: Logger
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option and the value. */
export function resolveClientOptions({ redis, logger, ...rest }: GatewayClientOptions): ResolvedClientOptions {
  return Object.freeze({
    ...parseOptions(schema, rest),
    redis: resolveRedisOption(redis),
    logger: logger ?? createLogger('warn'),
  })
}
