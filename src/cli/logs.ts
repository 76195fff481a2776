import { type DestinationStream, pino } from 'pino'
import { checkLevel, type Logger, stdoutLines } from '../logger.ts'
import type { Environment } from '../redis/variables.ts'
import { hasColours } from './terminal.ts'

/** Names that other logging libraries have for the same levels. */
const SYNONYMS: Readonly<Record<string, string>> = { warning: 'warn', critical: 'fatal', off: 'silent' }

/**
 * The worker's log on stdout: for reading on a terminal, else JSON lines.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` for a level that does not exist.
 */
export async function createWorkerLogger(level: string | undefined, env: Environment): Promise<Logger> {
  const options = { name: 'byclaw', ...(level === undefined ? {} : { level: checkedLevel(level) }) }
  const logger: Logger = pino(options, process.stdout.isTTY ? await readable(env) : stdoutLines())
  return logger
}

async function readable(env: Environment): Promise<DestinationStream> {
  // Only now: where nobody watches, it would take a good part of the start for nothing.
  const { PinoPretty } = await import('pino-pretty')
  return PinoPretty({
    sync: true,
    singleLine: true,
    colorize: hasColours(process.stdout, env),
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname,name,workerId',
  })
}

/**
 * The level that a text means.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` for one that does not exist.
 */
export function checkedLevel(text: string): string {
  const lower = text.toLowerCase()
  return checkLevel('logLevel', SYNONYMS[lower] ?? lower, text)
}
