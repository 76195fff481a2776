import { setTimeout as pause } from 'node:timers/promises'
import type { QueryConfig } from 'pg'
import { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { MOST_TIMER_MS } from '../util/timer.ts'
import { type LentClient, type PostgresPool, withoutTimeLimit } from './postgres-pool.ts'
import { quoted } from './postgres-sql.ts'

/** Longest session id, in characters. */
const MOST_ID = 256
/** What a table of an older SDK has, too. */
const BASE = ['id', 'session_id', 'role', 'content', 'metadata', 'created_at']
const OWN: Readonly<Record<string, string>> = {
  message_id: `varchar(${MOST_ID})`,
  fencing_token: 'bigint',
  rich: 'jsonb',
}

/** First number of our advisory locks: `bycl`. */
const LOCK_SPACE = 0x6279636c
const LOCK_TRY_MS = 100
const LOCK_WAIT_MS = 600_000
const DDL_LOCK_MS = 10_000

/** The table as the catalogue has it. */
interface Catalogue {
  /** Columns by name, with the length of a varchar, or -1. */
  readonly columns: Readonly<Record<string, number>> | null
  /** Indexes by name, and whether they are valid. */
  readonly indexes: Readonly<Record<string, boolean>> | null
}

interface SchemaOptions {
  readonly table: string
  readonly migrate: boolean
  readonly hasRetention: boolean
  /** All in one transaction, for a pooler in between that knows nothing longer: those who write wait for the indexes then. */
  readonly byTransaction: boolean
  readonly logger: Logger
}

const OPERATION = 'the preparation of its table'

/**
 * Makes the table, or brings one that is there to what is needed: its own columns, all of which may be empty, so that
 * older writers go on; a session id of 256 characters; the indexes. One process at a time; nothing is done where nothing
 * is missing, so that an account without such rights will do then.
 *
 * @throws GatewayError `GW_HISTORY_FAILED`; `GW_INVALID_ARGUMENT` when the table is none of this kind.
 */
export async function ensureSchema(pool: PostgresPool, options: SchemaOptions): Promise<void> {
  const { table, migrate, byTransaction } = options
  const missing = missingSteps(await pool.lend(OPERATION, (client) => look(client, table)), options)
  if (missing.length === 0) return
  if (!migrate) {
    const reason = `is not as it must be, and migrate is false; missing: ${missing.join('; ')}`
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'table', value: table, reason })
  }
  if (byTransaction) await changeInTransaction(pool, options)
  else await pool.lend(OPERATION, (client) => changeStepByStep(pool, client, options))
}

/** Holds the lock of a table's history until the end of the transaction, if nobody else does; answers whether it is so. */
export function tryLock(client: LentClient, table: string): Promise<boolean> {
  return take(client, 'pg_try_advisory_xact_lock', table)
}

async function changeInTransaction(pool: PostgresPool, options: SchemaOptions): Promise<void> {
  await untilLocked(pool, options.table, () =>
    pool.transact(OPERATION, { statementMs: 0, lockMs: DDL_LOCK_MS }, async (client) => {
      if (!(await tryLock(client, options.table))) return false
      await change(client, options)
      return true
    }),
  )
}

/** Indexes that stop no writers cannot be made in a transaction, so the lock is one of the connection. */
async function changeStepByStep(pool: PostgresPool, client: LentClient, options: SchemaOptions): Promise<void> {
  const { table } = options
  await withoutTimeLimit(client, DDL_LOCK_MS)
  await untilLocked(pool, table, () => take(client, 'pg_try_advisory_lock', table))
  await change(client, options)
  await client.query('SELECT pg_advisory_unlock($1, hashtext($2))', [LOCK_SPACE, table])
  await client.query('RESET statement_timeout; RESET lock_timeout')
}

/** Whoever had the lock before may have done it. */
async function change(client: LentClient, options: SchemaOptions): Promise<void> {
  const { table, logger } = options
  for (;;) {
    const [step] = missingSteps(await look(client, table), options)
    if (step === undefined) return
    logger.info({ table, statement: step }, 'changing the table of the history')
    await client.query(unlimited(step))
  }
}

/** A statement that takes as long as it takes; one that makes an index of many rows takes minutes. */
function unlimited(text: string): QueryConfig & { readonly query_timeout: number } {
  return { text, query_timeout: MOST_TIMER_MS }
}

/** Asks again and again: whoever waits inside of the server would be waited for by those who make an index. */
async function untilLocked(pool: PostgresPool, table: string, attempt: () => Promise<boolean>): Promise<void> {
  const until = performance.now() + LOCK_WAIT_MS
  while (!(await attempt())) {
    // A close waits for the connection that is lent here.
    pool.requireOpen()
    if (performance.now() > until) {
      const reason = `the lock of ${table} was not free for ${LOCK_WAIT_MS} ms`
      throw new GatewayError('GW_HISTORY_FAILED', { operation: OPERATION, reason })
    }
    await pause(LOCK_TRY_MS)
  }
}

async function take(client: LentClient, verb: string, table: string): Promise<boolean> {
  const { rows } = await client.query<{ taken: boolean }>(`SELECT ${verb}($1, hashtext($2)) AS taken`, [
    ...[LOCK_SPACE, table],
  ])
  return rows[0]?.taken === true
}

async function look(client: LentClient, table: string): Promise<Catalogue> {
  const { rows } = await client.query<Catalogue>(
    `SELECT
      (SELECT json_object_agg(attname, CASE WHEN atttypid = 'varchar'::regtype AND atttypmod > 0 THEN atttypmod - 4 ELSE -1 END)
        FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped) AS columns,
      (SELECT json_object_agg(relname, indisvalid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = to_regclass($1)) AS indexes`,
    [quoted(table)],
  )
  return rows[0] as Catalogue
}

/** What is to be done, in order. */
function missingSteps(
  { columns, indexes }: Catalogue,
  { table, hasRetention, byTransaction }: SchemaOptions,
): string[] {
  const name = quoted(table)
  if (columns === null) return [tableText(table)]
  const foreign = BASE.find((column) => !(column in columns))
  if (foreign !== undefined) {
    throw new GatewayError('GW_INVALID_ARGUMENT', {
      field: 'table',
      value: table,
      reason: `it has no column ${foreign}`,
    })
  }
  const length = columns['session_id'] ?? -1
  const steps = Object.entries(OWN)
    .filter(([column]) => !(column in columns))
    .map(([column, type]) => `ALTER TABLE ${name} ADD COLUMN IF NOT EXISTS ${column} ${type}`)
  // A longer varchar changes the catalogue only; the rows stay as they are.
  if (length !== -1 && length < MOST_ID) steps.push(`ALTER TABLE ${name} ALTER session_id TYPE varchar(${MOST_ID})`)
  const schema = table.includes('.') ? `"${table.split('.')[0]}".` : ''
  const how = byTransaction ? '' : 'CONCURRENTLY '
  for (const [index, definition] of Object.entries(indexesOf(table, hasRetention, how))) {
    if (indexes?.[index] === true) continue
    // One that was broken off is there and of no use.
    if (indexes?.[index] === false) steps.push(`DROP INDEX ${how}IF EXISTS ${schema}"${index}"`)
    else steps.push(definition)
  }
  return steps
}

function tableText(table: string): string {
  const [schema, own] = table.includes('.') ? table.split('.') : [undefined, table]
  const create = `CREATE TABLE IF NOT EXISTS ${quoted(table)} (
    id bigserial PRIMARY KEY,
    session_id varchar(${MOST_ID}) NOT NULL,
    role varchar(32) NOT NULL,
    content text,
    metadata jsonb DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    ${Object.entries(OWN)
      .map(([column, type]) => `${column} ${type}`)
      .join(', ')}
  )`
  if (schema === undefined || own === undefined) return create
  // IF NOT EXISTS asks for the right to make schemas even where there is nothing to make.
  const makeSchema = `IF to_regnamespace('"${schema}"') IS NULL THEN CREATE SCHEMA "${schema}"; END IF;`
  return `DO $$ BEGIN ${makeSchema} END $$; ${create}`
}

/** By name. */
function indexesOf(table: string, hasRetention: boolean, how: string): Readonly<Record<string, string>> {
  const own = table.split('.').at(-1) ?? table
  const name = quoted(table)
  const create = (unique: string, index: string, rest: string) =>
    `CREATE ${unique}INDEX ${how}"${index}" ON ${name} ${rest}`
  const [order, once, age] = [`${own}_order_idx`, `${own}_once_idx`, `${own}_age_idx`]
  return {
    [order]: create('', order, '(session_id, created_at, id)'),
    [once]: create('UNIQUE ', once, '(session_id, message_id, role) WHERE message_id IS NOT NULL'),
    ...(hasRetention ? { [age]: create('', age, 'USING brin (created_at) WITH (autosummarize = on)') } : {}),
  }
}
