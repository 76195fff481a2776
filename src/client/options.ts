import { z } from 'zod'
import { GatewayError } from '../errors.ts'
import { createLogger, type Logger } from '../logger.ts'
import { type RedisOption, type ResolvedRedis, resolveRedisOption } from '../redis/options.ts'

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
  const parsed = schema.safeParse(rest)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    const field = issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : String(issue?.path[0] ?? 'options')
    const value = (rest as Record<string, unknown>)[field]
    throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason: issue?.message ?? 'not understood' })
  }
  return Object.freeze({
    ...parsed.data,
    redis: resolveRedisOption(redis),
    logger: logger ?? createLogger('warn'),
  })
}
