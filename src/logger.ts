import { pino } from 'pino'

/** What this library asks of a logger; pino and everything of its shape fits. */
export interface Logger {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
  child(bindings: Record<string, unknown>): Logger
}

/** The default logger: pino, JSON lines on stdout, level `info`. */
export function createLogger(level = 'info'): Logger {
  return pino({ name: 'byclaw', level })
}
