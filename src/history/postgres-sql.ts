import type { Statement } from './postgres-pool.ts'

/** The name of a table as it stands in statements; it was checked to be one. */
export function quoted(table: string): string {
  return table
    .split('.')
    .map((part) => `"${part}"`)
    .join('.')
}

/** The statements over one table. */
export interface HistoryStatements {
  /** Rows in JSON. */
  readonly insert: Statement
  /** Session and limit; `earlier` also time (Unix µs) and number of the message before which to look. */
  readonly newest: Statement
  readonly earlier: Statement
  readonly clear: Statement
  readonly prune: Statement
}

const COLUMNS = `id, role, content, rich, metadata, message_id, fencing_token,
  (extract(epoch FROM created_at) * 1000000)::bigint AS time`
/** Blank is what was taken back; in rows of other writers it is a message. */
const IS_SAID = `(message_id IS NULL OR content <> '' OR rich IS NOT NULL)`
const ORDER = 'ORDER BY created_at DESC, id DESC LIMIT $2::int'

/** Most rows that one statement removes. */
export const ROWS_PER_DELETE = 5_000

export function statementsFor(table: string): HistoryStatements {
  const name = quoted(table)
  const statement = (verb: string, text: string): Statement => ({ name: `byclaw_${verb}_${table}`, text })
  return {
    insert: statement('insert', insertText(name)),
    newest: statement('newest', `SELECT ${COLUMNS} FROM ${name} WHERE session_id = $1 AND ${IS_SAID} ${ORDER}`),
    earlier: statement(
      'earlier',
      `SELECT ${COLUMNS} FROM ${name} WHERE session_id = $1 AND ${IS_SAID}
      AND (created_at, id) < ('epoch'::timestamptz + $3::bigint * interval '1 microsecond', $4::bigint) ${ORDER}`,
    ),
    clear: statement(
      'clear',
      `WITH gone AS (
        DELETE FROM ${name} WHERE id = ANY (ARRAY(SELECT id FROM ${name} WHERE session_id = $1 LIMIT ${ROWS_PER_DELETE}))
        RETURNING 1
      ) SELECT count(*)::int AS count FROM gone`,
    ),
    prune: statement(
      'prune',
      `WITH gone AS (
        DELETE FROM ${name} WHERE id = ANY (ARRAY(
          SELECT id FROM ${name} WHERE created_at < now() - $1::float8 * interval '1 day' LIMIT ${ROWS_PER_DELETE}
        )) RETURNING 1
      ) SELECT count(*)::int AS count FROM gone`,
    ),
  }
}

/**
 * The look at the newest token of a message is a scalar subquery, so that it is an index lookup per row whatever the
 * planner thinks of the table: as an anti-join it became a scan of all of it.
 */
function insertText(name: string): string {
  return `INSERT INTO ${name} AS kept (session_id, role, content, rich, metadata, created_at, message_id, fencing_token)
    SELECT session_id, role, content, rich, metadata,
      coalesce(to_timestamp(time / 1000.0), clock_timestamp()), message_id, token
    FROM json_to_recordset($1::json) AS new (session_id text, role text, content text, rich jsonb, metadata jsonb,
      time bigint, message_id text, token bigint)
    WHERE coalesce((
      SELECT max(old.fencing_token) FROM ${name} AS old
      WHERE old.session_id = new.session_id AND old.message_id = new.message_id
    ), 0) <= token
    ON CONFLICT (session_id, message_id, role) WHERE message_id IS NOT NULL DO UPDATE
    SET content = excluded.content, rich = excluded.rich, metadata = excluded.metadata,
      fencing_token = excluded.fencing_token
    WHERE coalesce(kept.fencing_token, 0) <= excluded.fencing_token`
}
