import { type DestinationStream, pino } from 'pino'
import { GatewayError } from './errors.ts'

/** What this library asks of a logger; pino and everything of its shape fits. */
export interface Logger {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
  child(bindings: Record<string, unknown>): Logger
}

const METHODS = ['debug', 'info', 'warn', 'error', 'child'] as const satisfies (keyof Logger)[]

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names a method it has not. */
export function checkLogger(logger: Logger): Logger {
  const missing = METHODS.find((name) => typeof logger[name] !== 'function')
  if (missing === undefined) return logger
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'logger', reason: `has no method ${missing}` })
}

/** So much is kept while stdout cannot be written to, in bytes; then lines are left out. */
const MOST_UNWRITTEN = 1_048_576

/**
 * The default logger: pino, JSON lines on stdout.
 *
 * @param level - The least that is told: `trace`, `debug`, `info` (the default), `warn`, `error`, `fatal`, or `silent`.
 * @throws GatewayError `GW_INVALID_ARGUMENT` for another level.
 */
export function createLogger(level = 'info'): Logger {
  return pino({ name: 'byclaw', level: checkLevel('level', level) }, stdoutLines())
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names `field`, for a level that pino does not know. */
export function checkLevel(field: string, level: string, given = level): string {
  const known = [...Object.values(pino.levels.labels), 'silent']
  if (known.includes(level)) return level
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value: given, reason: `must be one of ${known.join(', ')}` })
}

/**
 * Stdout as a logger writes to it: each line at once, so that the last one before an end is there. Where it cannot be
 * written to, because a disk is full or a terminal has gone, that is no reason to end or to hang: what a pino of its own
 * writes later is an uncaught error there, and kept trying for ever when the process ends.
 */
export function stdoutLines(): DestinationStream {
  const lines = pino.destination({ dest: 1, sync: true, maxLength: MOST_UNWRITTEN })
  return lines.on('error', () => undefined)
}
