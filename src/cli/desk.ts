import { GatewayClient } from '../client/client.ts'
import { checkTimer } from '../client/time-limit.ts'
import type { Logger } from '../logger.ts'
import { RedisConnections } from '../redis/connections.ts'
import { resolveRedis } from '../redis/environment.ts'
import type { RedisOption } from '../redis/options.ts'
import type { Environment } from '../redis/variables.ts'
import { openHistory } from './history-store.ts'
import { redisOption } from './redis-settings.ts'
import type { Settings } from './settings.ts'
import { type Paint, painter } from './terminal.ts'

/** A person waits: this long for the first sign of Redis, unless a flag says otherwise. */
const PATIENCE_MS = 3_000

/** What a command works with. */
export interface Desk {
  readonly client: GatewayClient
  /** It was said where the history is. */
  readonly hasHistory: boolean
  /** Writes a line to stdout. */
  readonly print: (line: string) => void
  /** Writes a line to stderr: what is said beside the answer. */
  readonly remark: (line: string) => void
  /** Colours for stdout. */
  readonly paint: Paint
  /** Colours for stderr. */
  readonly paintRemark: Paint
  /** Cells in a line of the terminal; undefined: stdout is none. */
  readonly width: number | undefined
}

/** Opens a desk, lets somebody work at it, and closes it. */
export async function atDesk(
  settings: Settings,
  env: Environment,
  work: (desk: Desk) => Promise<number>,
): Promise<number> {
  const { keyPrefix, connectTimeoutMs = PATIENCE_MS } = settings.values
  checkTimer('connectTimeoutMs', connectTimeoutMs)
  const redis = redisOption(settings)
  await reach(redis, connectTimeoutMs)
  const print = (line: string) => void process.stdout.write(`${line}\n`)
  const remark = (line: string) => void process.stderr.write(`${line}\n`)
  const history = await openHistory(settings, redis, loggerTo(remark))
  await using client = new GatewayClient({ redis, keyPrefix, history, logger: loggerTo(remark) })
  try {
    return await work({
      client,
      hasHistory: history !== undefined,
      print,
      remark,
      paint: painter(process.stdout, env),
      paintRemark: painter(process.stderr, env),
      width: process.stdout.isTTY ? process.stdout.columns : undefined,
    })
  } finally {
    await history?.close()
  }
}

/** A client waits for Redis in patience; a person wants to know soon that it is not there. */
async function reach(redis: RedisOption | undefined, timeoutMs: number): Promise<void> {
  const connections = new RedisConnections(
    resolveRedis(redis),
    loggerTo(() => undefined),
  )
  try {
    await connections.check(connections.client('prompt'), timeoutMs)
  } finally {
    connections.close()
  }
}

function loggerTo(remark: (line: string) => void): Logger {
  const say = (fields: object, message = ''): void => {
    const reason = 'reason' in fields ? ` (${fields.reason})` : ''
    remark(`byclaw: ${message}${reason}`)
  }
  const logger: Logger = { debug: () => undefined, info: say, warn: say, error: say, child: () => logger }
  return logger
}
