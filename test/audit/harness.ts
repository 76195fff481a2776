import { createHash } from 'node:crypto'
import type { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import { Audit, type DiagnoseOptions } from '../../src/audit/audit.ts'
import type { Finding } from '../../src/audit/finding.ts'
import { createLogger } from '../../src/logger.ts'
import { RedisConnections } from '../../src/redis/connections.ts'
import { resolveRedisOption } from '../../src/redis/options.ts'
import { Agenda } from '../../src/store/agenda.ts'
import { envelope, House } from '../worker/harness.ts'

export const GROUP = 'agent_engines'
const HOUR_MS = 3_600_000

/** A house whose states are broken by hand, and a doctor for it. */
export class Ward extends House {
  readonly audit: Audit
  readonly #agenda: Agenda
  readonly #connections: RedisConnections

  constructor(options: { consumerIdleMs?: number } = {}) {
    super()
    this.#connections = new RedisConnections(resolveRedisOption(this.url), createLogger('silent'))
    onTestFinished(() => this.#connections.close())
    const redis = this.#connections.client('patient')
    this.#agenda = new Agenda(redis, this.keys)
    this.audit = new Audit({ redis, keys: this.keys, ...options })
  }

  /** What is found; the looks are close together, since nothing moves here. */
  async findings(options: DiagnoseOptions = {}): Promise<readonly Finding[]> {
    return (await this.audit.diagnose({ intervalMs: 20, ...options })).findings
  }

  /** A record as the scripts write it; an ended one expires like those do. */
  async record(
    messageId: string,
    fence: string,
    fields: Record<string, string> = {},
    sessionId = 's',
  ): Promise<string> {
    const key = this.keys.task(sessionId, messageId)
    const made = { agent_type: 'agent', trace_id: 't', parent_message_id: '', user_code: '', created_at: '1000' }
    await this.redis.hset(key, { ...made, fence, ...fields })
    if ('CFXE'.includes(fence.charAt(0))) await this.redis.pexpire(key, HOUR_MS)
    return key
  }

  /** Puts an entry on a control stream whose group exists; answers its id. */
  async entry(messageId: string, fields: Record<string, string> = {}, capability = 'agent', sessionId = 's') {
    await this.group(capability)
    return (await this.add({ data: envelope(messageId, sessionId), ...fields }, capability)) as string
  }

  /** Notes a task on the agenda, due in an hour. */
  async holdBack(messageId: string, turn: string, sessionId = 's'): Promise<void> {
    const home = { capability: 'agent', priority: 'normal', data: envelope(messageId, sessionId) } as const
    await this.#agenda.add([{ item: { kind: 'ready', turn, sessionId, messageId, ...home }, delayMs: HOUR_MS }])
  }

  async group(capability = 'agent', name = GROUP): Promise<void> {
    await this.redis.xgroup('CREATE', this.keys.control(capability), name, '0', 'MKSTREAM').catch(() => undefined)
  }

  /** Hands all that waits to a consumer, as if `idleMs` ago. */
  async take(consumer: string, idleMs = 0, capability = 'agent'): Promise<void> {
    const key = this.keys.control(capability)
    const reply = await this.redis.xreadgroup('GROUP', GROUP, consumer, 'COUNT', 1_000, 'STREAMS', key, '>')
    const ids = ((reply as [string, [string][]][] | null)?.[0]?.[1] ?? []).map(([id]) => id)
    if (ids.length > 0) await this.redis.xclaim(key, GROUP, consumer, 0, ...ids, 'IDLE', idleMs, 'JUSTID')
  }

  /** A worker that is alive, as its hash and the lists say. */
  async alive(workerId: string, capabilities: readonly string[] = ['agent'], leaseMs = 5_000): Promise<void> {
    const now = Date.now()
    await this.redis.hset(this.keys.worker(workerId), {
      ...{ incarnation: 'i', capabilities: JSON.stringify(capabilities), max_concurrency: 10, running: 1 },
      ...{ host: 'h', pid: 7, lease_ms: leaseMs, last_seen_at: now },
    })
    await this.redis.pexpire(this.keys.worker(workerId), HOUR_MS)
    await this.redis.zadd(this.keys.workers(), now, workerId)
    for (const capability of capabilities) await this.redis.zadd(this.keys.capability(capability), now, workerId)
  }

  /** All that lies in this house, key by key, in a form that can be compared. */
  async snapshot(): Promise<Record<string, string>> {
    const found: Record<string, string> = {}
    for await (const page of this.redis.scanStream({ match: `${this.prefix}*`, count: 1_000 })) {
      for (const key of page as string[]) found[key] = await fingerprint(this.redis, key)
    }
    return found
  }
}

/** The keys that differ between two snapshots. */
export function changed(before: Record<string, string>, after: Record<string, string>): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((key) => before[key] !== after[key])
    .sort()
}

/** The content of a key with what is pending in its groups, and whether it expires; not when. */
async function fingerprint(redis: Redis, key: string): Promise<string> {
  const dump = await redis.dumpBuffer(key)
  const type = await redis.type(key)
  const expires = (await redis.pttl(key)) >= 0
  // The dump of a stream holds when its consumers were last seen, which looking does not change.
  return `${type} ${expires} ${createHash('sha1')
    .update(dump ?? '')
    .digest('hex')}`
}
