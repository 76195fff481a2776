/** What a key is, by its family; see {@link Keys.parse}. */
export type ParsedKey =
  | { readonly family: 'task' | 'journal' | 'blobs'; readonly sessionId: string; readonly messageId: string }
  | { readonly family: 'session' | 'data'; readonly sessionId: string }
  | { readonly family: 'worker'; readonly workerId: string }
  | {
      readonly family: 'control'
      readonly capability: string
      readonly priority: LaneName
      /** Only for a shared lane of one version. */
      readonly version?: string
    }
  | { readonly family: 'dead' | 'capability'; readonly capability: string }

/** The lanes of a capability, the first first. */
export const PRIORITIES = ['high', 'normal', 'low'] as const

/** A lane: one control stream of a capability; `normal` is the one without a suffix. */
export type Priority = (typeof PRIORITIES)[number]

/** Any lane: one that all workers of a capability share, or `@<worker id>`, from which only that worker takes. */
export type LaneName = Priority | `@${string}`

export function isLaneName(text: string): text is LaneName {
  return text.startsWith('@') || PRIORITIES.some((priority) => priority === text)
}

/** The lane of one worker. */
export function laneOfWorker(workerId: string): LaneName {
  return `@${workerId}`
}

/** True for a lane that all workers of a capability read. */
export function isShared(lane: LaneName): lane is Priority {
  return (PRIORITIES as readonly string[]).includes(lane)
}

/** The worker whose lane it is, or undefined for one that is shared. */
export function workerOfLane(lane: LaneName): string | undefined {
  return lane.startsWith('@') ? lane.slice(1) : undefined
}

/**
 * Every key and channel this library uses, spelled here and nowhere else. `{…}` is the hash tag of Redis Cluster: all
 * that belongs to one session lies in one slot, so that one script may touch it together; control streams lie
 * elsewhere, and on a Cluster no script touches both kinds.
 */
export class Keys {
  readonly prefix: string

  constructor(prefix: string) {
    this.prefix = prefix
  }

  /**
   * Stream of tasks that are ready to run; with a version of those that only workers of that version go on with. A
   * worker's own lane is of no version.
   */
  control(capability: string, lane: LaneName = 'normal', version?: string): string {
    const shared = `${this.prefix}:ctrl:${capability}`
    const workerId = workerOfLane(lane)
    // The hash tag is the whole of the shared key, so that a worker reads both by one connection on a Cluster.
    if (workerId !== undefined) return `${this.prefix}:own:{${shared}}:${workerId}`
    return `${shared}${version === undefined ? '' : `@${version}`}${lane === 'normal' ? '' : `:${lane}`}`
  }

  /** Text: the newest sends, for workers that wait for one. On a single Redis only. */
  newest(): string {
    return `${this.prefix}:newest-sends`
  }

  /** List in the slot of a control stream: envelopes that will be due on it in a moment. */
  stage(control: string, id: string): string {
    return `${this.prefix}:stage:{${control}}:${id}`
  }

  /** Stream in the slot of a {@link stage}: memory for its entries. */
  stageRoom(stage: string): string {
    return `${stage}:room`
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
    return this.taskHead() + taskTail(sessionId, messageId)
  }

  /** What the keys of all records begin with; {@link taskTail} is the rest. */
  taskHead(): string {
    return `${this.prefix}:task:`
  }

  /** What the keys of all session indexes begin with; `{<session id>}` is the rest. */
  sessionHead(): string {
    return `${this.prefix}:session:`
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

  /** Glob over all keys with this prefix, for operators' walks only. */
  allPattern(): string {
    return `${escapeGlob(this.prefix)}:*`
  }

  /** What a key found by a walk is, or null for one that is none of these, such as a worker's own control stream. */
  parse(key: string): ParsedKey | null {
    if (!key.startsWith(`${this.prefix}:`)) return null
    const rest = key.slice(this.prefix.length + 1)
    const [, sessionFamily, sessionId = '', messageId] =
      /^(task|journal|blobs|session|data:stream):\{([^}]*)\}(?::(.+))?$/s.exec(rest) ?? []
    if (sessionFamily === 'task' || sessionFamily === 'journal' || sessionFamily === 'blobs') {
      return messageId === undefined ? null : { family: sessionFamily, sessionId, messageId }
    }
    if (sessionFamily !== undefined) {
      return messageId === undefined ? { family: sessionFamily === 'session' ? 'session' : 'data', sessionId } : null
    }
    const [, sharedKey = '', owner = ''] = /^own:\{([^}]*)\}:(.+)$/s.exec(rest) ?? []
    const shared = owner === '' ? null : this.parse(sharedKey)
    if (shared !== null) return shared.family === 'control' ? { ...shared, priority: laneOfWorker(owner) } : null
    if (rest.startsWith('worker:')) return { family: 'worker', workerId: rest.slice('worker:'.length) }
    const [, family, capability = '', version, lane] =
      /^(ctrl|dead|capability):([\w.-]+)(?:@([\w.+-]+))?(?::(high|low))?$/.exec(rest) ?? []
    if (family === 'ctrl' && capability !== 'worker') {
      const priority = (lane as Priority | undefined) ?? 'normal'
      return { family: 'control', capability, priority, ...(version === undefined ? {} : { version }) }
    }
    if ((family !== 'dead' && family !== 'capability') || lane !== undefined || version !== undefined) return null
    return { family, capability }
  }

  /** Hash: what a task's durable calls have brought. */
  journal(sessionId: string, messageId: string): string {
    return `${this.prefix}:journal:{${sessionId}}:${messageId}`
  }

  /** Hash: those results of a task's durable calls that are large, by operation. */
  blobs(sessionId: string, messageId: string): string {
    return `${this.prefix}:blobs:{${sessionId}}:${messageId}`
  }

  /** Sorted set: the tasks of a session, those without an end last; its scores are told in lua/include/index.lua. */
  session(sessionId: string): string {
    return `${this.sessionHead()}{${sessionId}}`
  }

  /** Stream of what the agents say in a session; also the name of the session's push channel. */
  data(sessionId: string): string {
    return `${this.prefix}:data:stream:{${sessionId}}`
  }

  /** The keys of a session's history, where Redis keeps it: the order of its messages, and the messages. */
  history(sessionId: string): { order: string; messages: string } {
    return {
      order: `${this.prefix}:history:{${sessionId}}`,
      messages: `${this.prefix}:history-messages:{${sessionId}}`,
    }
  }

  /** Stream of messages that a history could not be told yet, and the mark of the worker that tells it. */
  historyBuffer(name: string): { messages: string; flusher: string } {
    return { messages: `${this.prefix}:history-buffer:${name}`, flusher: `${this.prefix}:history-flusher:${name}` }
  }

  /** Stream of wake-ups for one worker; each of them stands for something durable. */
  inbox(workerId: string): string {
    return `${this.prefix}:ctrl:worker:${workerId}`
  }

  /** The keys of one shard of what is to be done later, all in one slot. */
  agenda(shard: number): { due: string; payloads: string; keeper: string } {
    const due = `${this.prefix}:delayed:${shard}`
    // The hash tag is the whole of the first key, so that all three share its slot.
    return {
      due,
      payloads: `${this.prefix}:delayed-payloads:{${due}}`,
      keeper: `${this.prefix}:delayed-keeper:{${due}}`,
    }
  }

  /** Hash with a TTL: a live worker. */
  worker(workerId: string): string {
    return `${this.prefix}:worker:${workerId}`
  }

  /** Text with a TTL: the plugins of a worker, as JSON. */
  workerPlugins(workerId: string): string {
    return `${this.prefix}:worker-plugins:${workerId}`
  }

  /** Hash with a TTL: what workers answered to an order to reload plugins. */
  pluginReload(requestId: string): string {
    return `${this.prefix}:plugin-reload:${requestId}`
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

/** What the key of a task's record ends with. */
export function taskTail(sessionId: string, messageId: string): string {
  return `{${sessionId}}:${messageId}`
}

function escapeGlob(text: string): string {
  return text.replace(/[*?[\]\\]/g, '\\$&')
}
