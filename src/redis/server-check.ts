import { GatewayError } from '../errors.ts'
import type { RedisClient } from './client.ts'

/** XAUTOCLAIM and exclusive ranges, on which recovery and reading rest, came with 6.2. */
const OLDEST = [6, 2] as const

/** What start-up found out about the server. */
export interface ServerReport {
  readonly version: string
  /** Plain sentences for an operator; empty when all is well. */
  readonly warnings: readonly string[]
}

/**
 * Looks at the server's version and at the settings on which "nothing accepted is lost" depends.
 *
 * @throws GatewayError `GW_REDIS_UNSUPPORTED` when the server is older than 6.2.
 */
export async function checkServer(client: RedisClient): Promise<ServerReport> {
  const info = parseInfo(await client.call<string>('INFO'))
  const version = info.get('redis_version') ?? 'unknown'
  if (isOlder(version, OLDEST)) {
    throw new GatewayError('GW_REDIS_UNSUPPORTED', { version, needed: OLDEST.join('.') })
  }
  return { version, warnings: [...memoryWarnings(info), ...persistenceWarnings(info)] }
}

function memoryWarnings(info: Map<string, string>): string[] {
  const policy = info.get('maxmemory_policy')
  if (policy === undefined || policy === 'noeviction') return []
  return [
    `maxmemory-policy is '${policy}': when memory runs short Redis will delete tasks and answers. Set it to 'noeviction'.`,
  ]
}

function persistenceWarnings(info: Map<string, string>): string[] {
  if (info.get('aof_enabled') !== '0') return []
  return [
    'appendonly is off: tasks that Redis accepted are lost when its process ends. ' +
      "Set 'appendonly yes' (with 'appendfsync everysec' at most one second is at risk).",
  ]
}

function isOlder(version: string, [major, minor]: readonly [number, number]): boolean {
  const [have = Number.NaN, haveMinor = 0] = version.split('.').map(Number)
  return have < major || (have === major && haveMinor < minor)
}

function parseInfo(text: string): Map<string, string> {
  const pairs = new Map<string, string>()
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) pairs.set(line.slice(0, colon), line.slice(colon + 1))
  }
  return pairs
}
