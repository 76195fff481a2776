import { GatewayError } from '../errors.ts'
import type { RedisClient } from './client.ts'

/** XAUTOCLAIM and exclusive ranges, on which recovery and reading rest, came with 6.2. */
const OLDEST = [6, 2] as const

/**
 * Versions with a fault in the stream commands themselves, from the first on and below the one that has it mended. This
 * library does not use the command; others who may connect to the server can.
 */
const BAD = [
  {
    from: [8, 2, 0],
    mended: [8, 2, 3],
    what: 'XACKDEL can write beyond its memory there (CVE-2025-62507)',
  },
] as const

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
  if (isBelow(version, OLDEST)) {
    throw new GatewayError('GW_REDIS_UNSUPPORTED', { version, needed: OLDEST.join('.') })
  }
  const warnings = [...versionWarnings(info, version), ...memoryWarnings(info), ...persistenceWarnings(info)]
  return { version, warnings }
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

/** Valkey tells a version of Redis for the sake of old clients; its own faults are others. */
function versionWarnings(info: Map<string, string>, version: string): string[] {
  if (info.has('valkey_version')) return []
  return BAD.filter(({ from, mended }) => !isBelow(version, from) && isBelow(version, mended)).map(
    ({ mended, what }) => `Redis ${version} has a known fault: ${what}. Update it to ${mended.join('.')} or later.`,
  )
}

/** What is no version counts as new enough. */
function isBelow(version: string, limit: readonly number[]): boolean {
  const parts = version.split('.').map(Number)
  for (const [index, needed] of limit.entries()) {
    const part = parts[index] ?? 0
    if (part !== needed) return part < needed
  }
  return false
}

function parseInfo(text: string): Map<string, string> {
  const pairs = new Map<string, string>()
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) pairs.set(line.slice(0, colon), line.slice(colon + 1))
  }
  return pairs
}
