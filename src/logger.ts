import { pino } from 'pino'
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

/** The default logger: pino, JSON lines on stdout, level `info`. */
export function createLogger(level = 'info'): Logger {
  return pino({ name: 'byclaw', level })
}
