/** The lanes of a capability, the first first. */
export const PRIORITIES = ['high', 'normal', 'low'] as const

/** A lane: one control stream of a capability; `normal` is the one without a suffix. */
export type Priority = (typeof PRIORITIES)[number]

/**
 * Every key and channel this library uses, spelled here and nowhere else. `{…}` is the hash tag of Redis Cluster: all
 * that belongs to one session lies in one slot, so that one script may touch it together; control streams lie
 * elsewhere, and no script touches both kinds.
 */
export class Keys {
  readonly prefix: string

  constructor(prefix: string) {
    this.prefix = prefix
  }

  /** Stream of tasks that are ready to run. */
  control(capability: string, priority: Priority = 'normal'): string {
    return `${this.prefix}:ctrl:${capability}${priority === 'normal' ? '' : `:${priority}`}`
  }

  /** Stream of what could not be processed. */
  dead(capability: string): string {
    return `${this.prefix}:dead:${capability}`
  }

  /** Sorted set in the slot of {@link dead}: what has a letter there, by the time at which the letter came. */
  deadIndex(capability: string): string {
    return `${this.prefix}:dead-index:{${this.dead(capability)}}`
  }

  /** Sorted set: the capabilities that have dead letters, by the time of the newest one. */
  deadCapabilities(): string {
    return `${this.prefix}:dead-capabilities`
  }

  /** Hash: the record of one task. */
  task(sessionId: string, messageId: string): string {
    return `${this.prefix}:task:{${sessionId}}:${messageId}`
  }

  /** Hash: the operations of one task and their results. */
  journal(sessionId: string, messageId: string): string {
    return `${this.prefix}:journal:{${sessionId}}:${messageId}`
  }

  /** Glob over the records of all tasks, for operators' listings only. */
  taskPattern(): string {
    return `${escapeGlob(this.prefix)}:task:{*}:*`
  }

  /** The ids inside the key of a record, or null if it is none. */
  parseTask(key: string): { sessionId: string; messageId: string } | null {
    const head = `${this.prefix}:task:{`
    const end = key.indexOf('}:', head.length)
    if (!key.startsWith(head) || end < 0) return null
    return { sessionId: key.slice(head.length, end), messageId: key.slice(end + 2) }
  }

  /** Sorted set: the tasks of a session, by the time at which their records were made. */
  session(sessionId: string): string {
    return `${this.prefix}:session:{${sessionId}}`
  }

  /** Stream of what the agents say in a session; also the name of the session's push channel. */
  data(sessionId: string): string {
    return `${this.prefix}:data:stream:{${sessionId}}`
  }

  /** Stream of wake-ups for one worker; each of them stands for something durable. */
  inbox(workerId: string): string {
    return `${this.prefix}:ctrl:worker:${workerId}`
  }

  /** The keys of one shard of what is to be done later, all in one slot. */
  agenda(shard: number): { due: string; payloads: string; keeper: string } {
    const due = `${this.prefix}:delayed:${shard}`
    return { due, payloads: `{${due}}:payloads`, keeper: `{${due}}:keeper` }
  }

  /** Hash with a TTL: a live worker. */
  worker(workerId: string): string {
    return `${this.prefix}:worker:${workerId}`
  }

  /** Sorted set: all workers by their last heartbeat. */
  workers(): string {
    return `${this.prefix}:workers`
  }

  /** Sorted set: the workers that offer a capability, by their last heartbeat. */
  capability(capability: string): string {
    return `${this.prefix}:capability:${capability}`
  }
}

function escapeGlob(text: string): string {
  return text.replace(/[*?[\]\\]/g, '\\$&')
}
