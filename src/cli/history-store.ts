import type { HistoryStore } from '../agent/history.ts'
import { GatewayError } from '../errors.ts'
import { RedisHistory } from '../history/redis.ts'
import type { Logger } from '../logger.ts'
import type { RedisOption } from '../redis/options.ts'
import type { Settings } from './settings.ts'

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
  const { historyUrl, historyTable: table, historyPooler, keyPrefix } = settings.values
  if (historyUrl === undefined) return undefined
  if (/^postgres(ql)?:/.test(historyUrl)) {
    // Loaded by those who use it only.
    const { PostgresHistory } = await import('../history/postgres.ts')
    try {
      const given = { ...(table === undefined ? {} : { table }), ...(historyPooler === true ? { prepare: false } : {}) }
      return new PostgresHistory({ connectionString: historyUrl, logger, ...given })
    } catch (error) {
      throw renamed(error)
    }
  }
  if (historyUrl !== 'redis' && !/^rediss?:/.test(historyUrl)) {
    const reason = 'must be postgres://…, redis://… or redis'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'historyUrl', value: historyUrl, reason })
  }
  const redis = historyUrl === 'redis' ? own : historyUrl
  const prefix = keyPrefix === undefined ? {} : { keyPrefix }
  return new RedisHistory({ ...prefix, ...(redis === undefined ? {} : { redis }), logger })
}

/** What the library calls the table is another setting here. */
function renamed(error: unknown): unknown {
  if (!(error instanceof GatewayError) || error.details['field'] !== 'table') return error
  return new GatewayError('GW_INVALID_ARGUMENT', { ...error.details, field: 'historyTable' }, { cause: error })
}
