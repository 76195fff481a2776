import { createRequire } from 'node:module'
import type { Pool, PoolClient, QueryConfig, QueryResult, QueryResultRow } from 'pg'
import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { ResolvedPostgresOptions } from './postgres-options.ts'

/** A statement by name: prepared once per connection, if that is wanted. */
export interface Statement {
  readonly name: string
  readonly text: string
}

/** Limits of a transaction, in ms; 0: as long as it takes. Default: what the server says. */
export interface TimeLimits {
  readonly statementMs: number
  readonly lockMs?: number
}

/** A connection that is lent. A statement that says no limit of its own has the one after which its connection is given up. */
export interface LentClient {
  query<Row extends QueryResultRow>(statement: LentStatement, values?: unknown[]): Promise<QueryResult<Row>>
}

/** By its text alone, or with more. */
export type LentStatement = string | (QueryConfig & { readonly query_timeout?: number })

/** How much longer than the server's own limit a statement may take before its connection is given up. */
const GRACE_MS = 1_000

/** Class 22 are values that do not fit, 23 rules of the table that refuse them, 54 what is too large or too deep for Postgres. */
const REFUSED = /^(22|23|54)/
/** Two writers in each other's way: the same again works. */
const AGAIN = /^40(001|P01)$/
const MOST_TRIES = 5
/** A table, a column or an index that the statement counts on is not there. */
const MISSING = /^42(P01|703|P10)$/

/**
 * The connections to a Postgres, opened when they are first needed. The package `pg` is loaded then, because only those
 * who keep their history there have it.
 *
 * Without prepared statements (`prepare: false`) a pooler may hand out the server's connections by transaction. Then
 * nothing is asked for that outlives one: limits of time are set in each transaction rather than when a connection is made,
 * which such a pooler refuses, and locks are those of a transaction.
 */
export class PostgresPool {
  readonly #options: ResolvedPostgresOptions
  readonly #logger: Logger
  /** A connection that breaks while nothing is asked of it; the pool opens another one. */
  readonly #onLost = (error: Error) => {
    this.#logger.debug({ reason: errorMessage(error) }, 'a connection to Postgres was lost')
  }
  #pool: Promise<Pool> | undefined
  #isClosed = false

  /** @throws GatewayError `GW_INVALID_ARGUMENT` when the package `pg` is not installed. */
  constructor(options: ResolvedPostgresOptions) {
    if (options.pool === undefined) requirePackage()
    this.#options = options
    this.#logger = options.logger
  }

  /** @throws GatewayError `GW_HISTORY_FAILED`, or `GW_INVALID_ARGUMENT` for what the table will never take. */
  async run<Row extends object>(operation: string, statement: Statement, values: readonly unknown[]): Promise<Row[]> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#query<Row>(statement, [...values])
      } catch (error) {
        if (tries < MOST_TRIES && AGAIN.test(codeOf(error))) continue
        throw toGatewayError(operation, error)
      }
    }
  }

  /** Lends a connection of its own. */
  async lend<Result>(operation: string, work: (client: LentClient) => Promise<Result>): Promise<Result> {
    try {
      return await this.#lend(work)
    } catch (error) {
      throw toGatewayError(operation, error)
    }
  }

  /** Lends a connection for a transaction, at whose end its locks and limits of time are gone. */
  async transact<Result>(
    operation: string,
    limits: TimeLimits,
    work: (client: LentClient) => Promise<Result>,
  ): Promise<Result> {
    return this.lend(operation, (client) => inTransaction(client, limits, () => work(client)))
  }

  /** @throws GatewayError `GW_CLOSED`. */
  requireOpen(): void {
    if (this.#isClosed) throw new GatewayError('GW_CLOSED', { what: 'history' })
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const pool = await this.#pool?.catch(() => undefined)
    if (this.#options.pool === undefined) await pool?.end()
  }

  async #query<Row extends object>({ name, text }: Statement, values: unknown[]): Promise<Row[]> {
    const { prepare, statementTimeoutMs, pool } = this.#options
    const query = { text, values, query_timeout: this.#mostMs }
    if (prepare && pool === undefined) return (await (await this.#open()).query<Row>({ name, ...query })).rows
    if (prepare) return this.#lend(async (client) => (await client.query<Row>({ name, ...query })).rows)
    const limits = { statementMs: statementTimeoutMs }
    return this.#lend((client) => inTransaction(client, limits, async () => (await client.query<Row>(query)).rows))
  }

  /** Said with each statement, since a pool of somebody's own knows nothing of it. */
  get #mostMs(): number {
    return this.#options.statementTimeoutMs + GRACE_MS
  }

  async #lend<Result>(work: (client: LentClient) => Promise<Result>): Promise<Result> {
    const client = await this.#connect()
    client.on('error', this.#onLost) // while it is lent, the pool does not listen
    let hasFailed = true
    try {
      const result = await work(limited(client, this.#mostMs))
      hasFailed = false
      return result
    } finally {
      // A connection on which something failed may hold a lock or be in the middle of something: it is not used again.
      client.off('error', this.#onLost)
      client.release(hasFailed)
    }
  }

  async #connect(): Promise<PoolClient> {
    const pool = await this.#open()
    // One of our own knows the limit.
    return this.#options.pool === undefined ? pool.connect() : connectInTime(pool, this.#options.connectTimeoutMs)
  }

  #open(): Promise<Pool> {
    this.requireOpen()
    this.#pool ??= this.#options.pool === undefined ? this.#make() : Promise.resolve(this.#options.pool)
    return this.#pool
  }

  async #make(): Promise<Pool> {
    const { connectionString, ssl, maxConnections, connectTimeoutMs, statementTimeoutMs, prepare } = this.#options
    const { Pool } = (await import('pg')).default
    const pool = new Pool({
      ...{ connectionString, max: maxConnections, connectionTimeoutMillis: connectTimeoutMs },
      ...(prepare ? { statement_timeout: statementTimeoutMs } : {}),
      query_timeout: this.#mostMs,
      ...{ keepAlive: true, allowExitOnIdle: true, application_name: 'byclaw-history' },
      ...(ssl === undefined ? {} : { ssl }),
    })
    pool.on('error', this.#onLost)
    return pool
  }
}

/** A connection of a pool that may let wait for ever; one that comes too late goes back. */
async function connectInTime(pool: Pool, timeoutMs: number): Promise<PoolClient> {
  let isLate = false
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      isLate = true
      reject(new Error(`no connection within ${timeoutMs} ms`))
    }, timeoutMs)
  })
  const connected = pool.connect().then((client) => {
    if (isLate) client.release()
    return client
  })
  try {
    return await Promise.race([connected, late])
  } finally {
    clearTimeout(timer)
  }
}

function limited(client: PoolClient, mostMs: number): LentClient {
  return {
    query: (statement, values) => {
      const own = typeof statement === 'string' ? { text: statement } : statement
      return client.query({ query_timeout: mostMs, ...own }, values)
    },
  }
}

/** What fails leaves the transaction to the end of its connection. */
async function inTransaction<Result>(
  client: LentClient,
  { statementMs, lockMs }: TimeLimits,
  work: () => Promise<Result>,
): Promise<Result> {
  const lockLimit = lockMs === undefined ? '' : `; SET LOCAL lock_timeout = ${lockMs}`
  await client.query(`BEGIN; SET LOCAL statement_timeout = ${statementMs}${lockLimit}`)
  const result = await work()
  await client.query('COMMIT')
  return result
}

/** Lends itself for statements that make the table: those have no limit of time but for locks. */
export async function withoutTimeLimit(client: LentClient, lockTimeoutMs: number): Promise<void> {
  await client.query(`SET statement_timeout = 0; SET lock_timeout = ${Math.ceil(lockTimeoutMs)}`)
}

function requirePackage(): void {
  try {
    createRequire(import.meta.url).resolve('pg')
  } catch (cause) {
    const reason = 'a history in Postgres needs the package pg: npm install pg'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'PostgresHistory', reason }, { cause })
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

/** True where the table is not, or no longer, as it must be. */
export function isTableAtFault(error: unknown): boolean {
  return error instanceof GatewayError && MISSING.test(codeOf(error.cause))
}

function toGatewayError(operation: string, error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  const code = codeOf(error)
  const reason = code === '' ? errorMessage(error) : `${errorMessage(error)} (${code})${adviceFor(errorMessage(error))}`
  if (REFUSED.test(code)) return new GatewayError('GW_INVALID_ARGUMENT', { field: operation, reason }, { cause: error })
  return new GatewayError('GW_HISTORY_FAILED', { operation, reason }, { cause: error })
}

function adviceFor(message: string): string {
  return /unsupported startup parameter/.test(message)
    ? '; behind a pooler such as PgBouncer prepare must be false (--history-pooler)'
    : ''
}
