import { pino } from 'pino'
import { PinoPretty } from 'pino-pretty'
import { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Environment } from '../redis/environment.ts'
import { hasColours } from './terminal.ts'

/** Names that other logging libraries have for the same levels. */
const SYNONYMS: Readonly<Record<string, string>> = { warning: 'warn', critical: 'fatal', off: 'silent' }

/**
 * The worker's log on stdout: for reading on a terminal, else JSON lines. Written at once, so that the last line before an
 * end is not lost.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` for a level that does not exist.
 */
export function createWorkerLogger(level: string | undefined, env: Environment): Logger {
  const options = level === undefined ? {} : { level: checkedLevel(level) }
  if (!process.stdout.isTTY) return pino({ name: 'byclaw', ...options })
  const stream = PinoPretty({
    sync: true,
    singleLine: true,
    colorize: hasColours(process.stdout, env),
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname,name,workerId',
  })
  return pino({ name: 'byclaw', ...options }, stream)
}

function checkedLevel(text: string): string {
  const lower = text.toLowerCase()
  const level = SYNONYMS[lower] ?? lower
  const known = [...Object.values(pino.levels.labels), 'silent']
  if (known.includes(level)) return level
  const reason = `must be one of ${known.join(', ')}`
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'logLevel', value: text, reason })
}
