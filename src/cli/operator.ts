import type { Command } from 'commander'
import { GatewayClient } from '../client/client.ts'
import { checkTimer } from '../client/time-limit.ts'
import { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { RedisConnections } from '../redis/connections.ts'
import { type Environment, resolveRedis } from '../redis/environment.ts'
import type { RedisOption } from '../redis/options.ts'
import { environment } from './env.ts'
import { openHistory } from './history-store.ts'
import { redisOption } from './redis-settings.ts'
import { addFlags, nameSource, readSettings, type Settings } from './settings.ts'
import { type Paint, painter } from './terminal.ts'
import { CONNECTION_FLAGS, type WorkerFlag } from './worker-flags.ts'

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

/** What a command does; answers its exit code. */
export type Action<Options> = (desk: Desk, options: Options, args: readonly string[]) => Promise<number>

/**
 * Lets a command work with a client, and gives it the flags for the connection.
 *
 * @param fields - How the command line calls what the library calls otherwise, for error messages.
 * @param more - Further settings that it has, such as where the history is.
 */
export function withClient<Options extends object>(
  command: Command,
  action: Action<Options>,
  fields: Readonly<Record<string, string>> = {},
  more: readonly WorkerFlag[] = [],
): void {
  const flags = [...CONNECTION_FLAGS, ...more]
  addFlags(command, flags).action(async () => {
    const env = environment()
    const options = command.opts<Options>()
    refuseBlanks(command)
    const settings = readSettings(flags, command.opts(), env)
    try {
      process.exitCode = await atDesk(settings, env, (desk) => action(desk, options, command.args))
    } catch (error) {
      throw nameSource(error, settings, fields)
    }
  })
}

/** A text of blanks says nothing: the command would do as it pleases where one believes to have said what is meant. */
function refuseBlanks(command: Command): void {
  for (const option of command.options) {
    const value: unknown = command.getOptionValue(option.attributeName())
    if (typeof value !== 'string' || value.trim() !== '') continue
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: option.long, value, reason: 'must not be blank' })
  }
}

async function atDesk(settings: Settings, env: Environment, work: (desk: Desk) => Promise<number>): Promise<number> {
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
