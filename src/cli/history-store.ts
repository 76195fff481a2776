import type { HistoryStore } from '../agent/history.ts'
import { GatewayError } from '../errors.ts'
import { RedisHistory } from '../history/redis.ts'
import { createLogger, type Logger } from '../logger.ts'
import type { RedisOption } from '../redis/options.ts'
import type { Settings } from './settings.ts'

/** Settings by what the library calls them. */
const NAMES: Readonly<Record<string, string>> = {
  connectionString: 'historyUrl',
  table: 'historyTable',
  redis: 'historyUrl',
}

/**
 * Opens the history that the settings name: `postgres://…`, `redis://…`, or `redis` for the Redis of the connection;
 * undefined if they name none.
 *
 * @param own - The Redis of the connection; undefined: as the library finds it.
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the setting.
 */
export async function openHistory(
  settings: Settings,
  own: RedisOption | undefined,
  logger: Logger,
): Promise<HistoryStore | undefined> {
  const kind = historyKind(settings)
  const { historyUrl, historyTable: table, historyPooler, keyPrefix } = settings.values
  if (historyUrl === undefined) return undefined
  if (kind === 'postgres') {
    // Loaded by those who use it only.
    const { PostgresHistory } = await import('../history/postgres.ts')
    try {
      const given = { ...(table === undefined ? {} : { table }), ...(historyPooler === true ? { prepare: false } : {}) }
      return new PostgresHistory({ connectionString: historyUrl, logger, ...given })
    } catch (error) {
      throw renamed(error)
    }
  }
  const prefix = keyPrefix === undefined ? {} : { keyPrefix }
  if (historyUrl === 'redis')
    return new RedisHistory({ ...prefix, ...(own === undefined ? {} : { redis: own }), logger })
  try {
    return new RedisHistory({ ...prefix, redis: historyUrl, logger })
  } catch (error) {
    throw renamed(error)
  }
}

/**
 * Where the settings keep a history, by the form of its URL; undefined: nowhere.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the setting.
 */
export function historyKind(settings: Settings): 'postgres' | 'redis' | undefined {
  const { historyUrl } = settings.values
  if (historyUrl !== undefined && /^postgres(ql)?:/.test(historyUrl)) return 'postgres'
  requireNoPostgres(settings)
  if (historyUrl === undefined) return undefined
  if (historyUrl === 'redis' || /^rediss?:/.test(historyUrl)) return 'redis'
  // Without the URL: a password may stand in it.
  const reason = 'must be postgres://…, redis://… or redis'
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'historyUrl', reason })
}

/**
 * Refuses a place of a history that is none; only its opening tells whether it is one.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the setting.
 */
export async function checkHistory(settings: Settings): Promise<void> {
  // The Redis of the connection, which may be still to come.
  if (settings.values.historyUrl === 'redis') return
  const history = await openHistory(settings, undefined, createLogger('silent'))
  await history?.close()
}

/** Who says by a flag where in Postgres, and not which one, would have his history kept elsewhere, or nowhere for long. */
function requireNoPostgres({ sources }: Settings): void {
  for (const field of ['historyTable', 'historyPooler']) {
    if (sources.get(field)?.kind !== 'flag') continue
    const reason = 'it is for a history in Postgres, and the history URL names none'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field, reason })
  }
}

/** What the library calls the table, or its Redis, is another setting here. */
function renamed(error: unknown): unknown {
  const field = error instanceof GatewayError ? NAMES[String(error.details['field'])] : undefined
  if (!(error instanceof GatewayError) || field === undefined) return error
  return new GatewayError('GW_INVALID_ARGUMENT', { ...error.details, field }, { cause: error })
}
