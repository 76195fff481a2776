import { parseJson } from '../protocol/json.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'

const PAGE = 500

/** A worker that gives signs of life, with what it promised of them. */
export interface FleetWorker {
  readonly workerId: string
  readonly capabilities: readonly string[]
  /** The versions whose tasks it goes on with. */
  readonly agentVersions: readonly string[]
  readonly running: number
  readonly maxConcurrency: number
  readonly host: string
  readonly pid: number
  readonly leaseMs: number
  readonly lastSeenAt: number
}

/** A worker id as a list has it. */
export interface Listed {
  readonly workerId: string
  /** Its last heartbeat, as the list knows it. */
  readonly seenAt: string
}

/** Looks at who is alive, and changes nothing by looking. */
export class Fleet {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** All live workers, by id. */
  async live(): Promise<ReadonlyMap<string, FleetWorker>> {
    const workers = new Map<string, FleetWorker>()
    for await (const page of this.#list(this.#keys.workers())) {
      const flats = await this.#redis.all<string[]>(
        page.map(({ workerId }) => ['HGETALL', this.#keys.worker(workerId)] as const),
      )
      flats.forEach((flat, index) => {
        const { workerId } = page[index] as Listed
        if (flat.length > 0) workers.set(workerId, toWorker(workerId, flat))
      })
    }
    return workers
  }

  /** Ids on a list (default: that of all workers) whose worker is gone. */
  async gone(capability?: string): Promise<Listed[]> {
    const gone: Listed[] = []
    const key = capability === undefined ? this.#keys.workers() : this.#keys.capability(capability)
    for await (const page of this.#list(key)) {
      const exist = await this.#redis.all<number>(
        page.map(({ workerId }) => ['EXISTS', this.#keys.worker(workerId)] as const),
      )
      gone.push(...page.filter((_, index) => exist[index] === 0))
    }
    return gone
  }

  /** Takes an id off a list, unless its worker has given a sign of life since; true if it was there. */
  async unlist({ workerId, seenAt }: Listed, capability?: string): Promise<boolean> {
    const key = capability === undefined ? this.#keys.workers() : this.#keys.capability(capability)
    return (await this.#redis.script<number>('unlist', [key], [workerId, seenAt])) === 1
  }

  async *#list(key: string): AsyncGenerator<Listed[]> {
    let cursor = '0'
    do {
      const [next, flat] = await this.#redis.call<[string, string[]]>('ZSCAN', key, cursor, 'COUNT', PAGE)
      cursor = next
      const page = toListed(flat)
      if (page.length > 0) yield page
    } while (cursor !== '0')
  }
}

/** @param flat - Ids and scores, in turn. */
export function toListed(flat: readonly string[]): Listed[] {
  const listed: Listed[] = []
  for (let i = 0; i + 1 < flat.length; i += 2) {
    listed.push({ workerId: flat[i] as string, seenAt: flat[i + 1] as string })
  }
  return listed
}

function toWorker(workerId: string, flat: readonly string[]): FleetWorker {
  const text = (name: string) => {
    const at = flat.findIndex((field, index) => index % 2 === 0 && field === name)
    return at < 0 ? '' : (flat[at + 1] ?? '')
  }
  const names = (name: string) => {
    const json = parseJson(text(name) || '[]')
    return json.ok && Array.isArray(json.value) ? json.value.map(String) : []
  }
  return {
    ...{ workerId, host: text('host'), pid: Number(text('pid')), running: Number(text('running')) },
    ...{ capabilities: names('capabilities'), agentVersions: names('agent_versions') },
    ...{ maxConcurrency: Number(text('max_concurrency')), leaseMs: Number(text('lease_ms')) },
    lastSeenAt: Number(text('last_seen_at')),
  }
}
