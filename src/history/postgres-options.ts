import type { ConnectionOptions } from 'node:tls'
import type { Pool } from 'pg'
import { z } from 'zod'
import { GatewayError } from '../errors.ts'
import { createLogger, type Logger } from '../logger.ts'
import { parseOptions, requireObject } from '../util/parse-options.ts'
import { MOST_TIMER_MS } from '../util/timer.ts'

/** Where a `PostgresHistory` keeps what was said; one of `connectionString` and `pool` is required. */
export interface PostgresHistoryOptions {
  /** `postgres://user:password@host:5432/database`; with `?sslmode=verify-full` over TLS. */
  readonly connectionString?: string | undefined
  /** A pool of the package `pg` in place of one of its own; never closed. */
  readonly pool?: Pool | undefined
  /** TLS as `node:tls` takes it, or true. Default what the `connectionString` says. */
  readonly ssl?: boolean | ConnectionOptions | undefined
  /** The table, perhaps with its schema: `chat.messages`. Default `gateway_session_messages`. */
  readonly table?: string | undefined
  /** Most connections. Default 4. */
  readonly maxConnections?: number | undefined
  /** How long to wait for a connection, in ms. Default 5,000. */
  readonly connectTimeoutMs?: number | undefined
  /** Longest time of a statement, in ms; those that make the table take as long as they take. Default 5,000. */
  readonly statementTimeoutMs?: number | undefined
  /** Removes what is older, in the background. Default: nothing is removed. */
  readonly retentionDays?: number | undefined
  /** How often to look for what is older than `retentionDays`, in ms. Default one hour. */
  readonly retentionCheckMs?: number | undefined
  /** Makes and changes the table where that is needed; false: only checks it. Default true. */
  readonly migrate?: boolean | undefined
  /**
   * Uses prepared statements, and settings and locks of a connection; false behind a pooler that hands connections out by
   * transaction. Default true.
   */
  readonly prepare?: boolean | undefined
  /** Any pino-shaped logger. Default pino with level `warn`. */
  readonly logger?: Logger | undefined
}

const timer = z.number().int().min(1).max(MOST_TIMER_MS)
/** Names of indexes are made of it, and have 63 characters at most. */
const NAME = '[A-Za-z_][A-Za-z0-9_]{0,47}'

const schema = z.strictObject({
  connectionString: z.string().optional(),
  table: z
    .string()
    .regex(new RegExp(`^(${NAME}\\.)?${NAME}$`), 'must be a name of letters, digits and _, perhaps schema.name')
    .default('gateway_session_messages'),
  maxConnections: z.number().int().min(1).max(1_000).default(4),
  connectTimeoutMs: timer.default(5_000),
  statementTimeoutMs: timer.default(5_000),
  retentionDays: z.number().positive().max(100_000).optional(),
  retentionCheckMs: timer.default(3_600_000),
  migrate: z.boolean().default(true),
  prepare: z.boolean().default(true),
})

export type ResolvedPostgresOptions = Readonly<z.infer<typeof schema>> & {
  readonly pool: Pool | undefined
  readonly ssl: boolean | ConnectionOptions | undefined
  readonly logger: Logger
}

/** The forms that `pg` knows: a URL, or the folder of a socket. It takes whatever else for the name of a database. */
const CONNECTION = /^(?:postgres(?:ql)?:\/\/|socket:|\/)/i

function isConnectionString(given: unknown): boolean {
  if (typeof given !== 'string' || !CONNECTION.test(given)) return false
  // Between a user and the path there may be no host.
  return given.startsWith('/') || URL.canParse(given.replace('@/', '@localhost/'))
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option and the value. */
export function resolvePostgresOptions(options: PostgresHistoryOptions): ResolvedPostgresOptions {
  requireObject('the options', options)
  const { pool, ssl, logger, ...rest } = options
  const invalid = (field: string, reason: string) => new GatewayError('GW_INVALID_ARGUMENT', { field, reason })
  if (pool === undefined && rest.connectionString === undefined) {
    throw invalid('connectionString', 'connectionString or pool must be given')
  }
  if (pool !== undefined && rest.connectionString !== undefined) {
    throw invalid('pool', 'pool and connectionString exclude each other')
  }
  if (rest.connectionString !== undefined && !isConnectionString(rest.connectionString)) {
    // Said without the value: a password may stand in it.
    throw invalid('connectionString', 'expected a URL such as postgres://user:password@host:5432/database')
  }
  if (pool !== undefined && ssl !== undefined) throw invalid('ssl', 'a given pool has its own')
  return Object.freeze({ ...parseOptions(schema, rest), pool, ssl, logger: logger ?? createLogger('warn') })
}
