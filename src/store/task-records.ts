import type { TaskFault } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { parseJson } from '../protocol/json.ts'
import type { TaskStatus } from '../protocol/status.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys, LaneName } from '../redis/keys.ts'
import { type BeginAnswer, type BeginRequest, toBeginAnswer } from './begin-answer.ts'
import { type CancelRequest, parseCancel } from './cancel-request.ts'
import { epochOf, ownerOf, STATUS_BY_LETTER } from './fence.ts'
import { sessionTasks } from './session-index.ts'
import type { TaskFacts } from './task-facts.ts'

/** What is known of a task when it is sent. */
export interface TaskAdmission extends TaskRef {
  readonly agentType: string
  readonly traceId: string
  readonly parentMessageId: string
  readonly userCode: string
  /** Held back for so long, in ms. */
  readonly delayMs?: number | undefined
  /** Ends as EXPIRED if it has not started after so long, in ms. */
  readonly expiresInMs?: number | undefined
  /** The lane of the one worker that may run it; none for what any worker of its capability may. */
  readonly lane?: LaneName | undefined
}

/** True: the record was made; false: it was there. A request: it was made, and is cancelled like the task above it. */
export type AdmitAnswer = boolean | CancelRequest

/** A task as its record tells it. Times are Unix ms by Redis' clock. */
export interface TaskInfo extends TaskRef {
  readonly status: TaskStatus
  readonly agentType: string
  readonly traceId: string
  readonly parentMessageId: string
  readonly userCode: string
  /** The worker that runs it or ran it last; empty before the first start. */
  readonly workerId: string
  /** Number of the attempt that runs or ran last; 0 before the first start. Takeovers do not count. */
  readonly attempt: number
  /** The fencing token of the attempt that runs or ran last; 0 before the first start. */
  readonly epoch: number
  readonly createdAt: number
  readonly startedAt: number | null
  readonly finishedAt: number | null
  /** When the next attempt, or the first start of a delayed task, is due; null unless the task waits for it. */
  readonly dueAt: number | null
  /** When it ends as EXPIRED if it has not started by then; null if it has started, or may wait for ever. */
  readonly expiresAt: number | null
}

/** As much of a record as ending the task from outside needs. */
export interface TaskOutline extends TaskRef, Pick<TaskFacts, 'lane' | 'laneVersion'> {
  readonly fence: string
  readonly agentType: string
  readonly traceId: string
  readonly parentMessageId: string
  readonly attempt: number
  /** It has a time by which it must have started; a redriven task has none any more. */
  readonly canExpire: boolean
  /** It has its end, and its record stays until an entry of it is seen off. */
  readonly awaitsEntry: boolean
}

/** The fields that a {@link TaskInfo} is made of: results and texts, which may be large, stay where they are. */
export const INFO_FIELDS = [
  ...['fence', 'agent_type', 'trace_id', 'parent_message_id', 'user_code', 'attempt'],
  ...['created_at', 'started_at', 'finished_at', 'due_at', 'expires_at', 'waits_for'],
] as const

const SCAN_COUNT = 1_000

/** What has become of a task while its attempt runs. */
export type Inspection =
  | { readonly status: 'running' }
  | { readonly status: 'lost'; readonly holder: string }
  | { readonly status: 'cancelled'; readonly cancel: CancelRequest }

/** One failed attempt of a task. */
export interface AttemptFailure {
  readonly attempt: number
  readonly code: string
  readonly message: string
  /** Unix ms by Redis' clock. */
  readonly at: number
  readonly workerId: string
  /** Id of the attempt's control entry. */
  readonly entryId: string
}

/** The end of a task as its record tells it. */
export interface TaskEnd {
  readonly task: TaskInfo
  readonly result: unknown
  /** The answer in words. */
  readonly content: string
  readonly error: TaskFault | null
  /** Id of the `done` event. */
  readonly endId: string
}

/** Makes, begins and reads the records of tasks. Their writes while running are the data stream's `say` and `conclude`. */
export class TaskRecords {
  readonly #redis: RedisClient
  readonly #keys: Keys
  readonly #versions: readonly string[]

  /** @param versions - Those whose tasks this worker goes on with, its own first; none for a worker without a version. */
  constructor(redis: RedisClient, keys: Keys, versions: readonly string[] = []) {
    this.#redis = redis
    this.#keys = keys
    this.#versions = versions.length === 0 ? [] : [` ${versions.join(' ')} `]
  }

  /** Makes the records of tasks whose control entries were written. */
  admit(tasks: readonly TaskAdmission[]): Promise<readonly AdmitAnswer[]> {
    return this.#redis.bySlot(
      tasks,
      (task) => this.#key(task),
      (part) => this.#admit(part),
    )
  }

  /**
   * Takes ownership of tasks for `workerId`, all in one call per slot.
   *
   * @param isAnyVersion - Also of tasks of other versions: their handlers will not run.
   */
  begin(workerId: string, requests: readonly BeginRequest[], isAnyVersion = false): Promise<readonly BeginAnswer[]> {
    const versions = isAnyVersion ? ['*'] : this.#versions
    return this.#redis.bySlot(
      requests,
      (request) => this.#key(request),
      async (part) => {
        const reply = await this.#redis.script<(number | string | string[])[]>(
          'begin',
          part.map((request) => this.#key(request)),
          [workerId, ...part.map(({ entryId, turn }) => (turn === '' ? entryId : `${entryId} ${turn}`)), ...versions],
        )
        return reply.map((answer, index) => toBeginAnswer(answer, part[index] as BeginRequest, workerId))
      },
    )
  }

  /** Unix ms by Redis' clock. */
  now(): Promise<number> {
    return this.#redis.now()
  }

  /** The ownership of a task and what its events are to say of it, or null if there is no record. */
  async peek(ref: TaskRef): Promise<TaskOutline | null> {
    const names = [
      ...['fence', 'agent_type', 'trace_id', 'parent_message_id'],
      ...['attempt', 'expires_at', 'lane', 'lane_version', 'keep_ms'],
    ]
    const values = await this.#redis.call<(string | null)[]>('HMGET', this.#key(ref), ...names)
    const [fence, agentType, traceId, parentMessageId, attempt, expiresAt, lane, laneVersion, keepMs] = values
    if (typeof fence !== 'string') return null
    return {
      ...{ sessionId: ref.sessionId, messageId: ref.messageId, fence, agentType: agentType ?? '' },
      ...{ traceId: traceId ?? '', parentMessageId: parentMessageId ?? '' },
      lane: (lane ?? null) as LaneName | null,
      laneVersion: laneVersion ?? null,
      attempt: Number(attempt ?? 0),
      canExpire: typeof expiresAt === 'string',
      awaitsEntry: typeof keepMs === 'string',
    }
  }

  /** The operations of a task that have no result yet. */
  async openOperations({ sessionId, messageId }: TaskRef): Promise<readonly string[]> {
    const fields = new Set(await this.#redis.call<string[]>('HKEYS', this.#keys.journal(sessionId, messageId)))
    return [...fields].filter((field) => field !== 'n' && !field.startsWith('=') && !fields.has(`=${field}`))
  }

  /** Asks for the end of a task that somebody runs; answers the fence that holds, '' if there is no record. */
  async requestCancel(ref: TaskRef, request: CancelRequest): Promise<string> {
    const [fence = ''] = await this.#redis.script<string[]>(
      'requestCancel',
      [this.#key(ref)],
      [JSON.stringify(request)],
    )
    return fence
  }

  /** What has become of running tasks: all well, lost to another owner, or cancelled. */
  inspect(tasks: readonly (TaskRef & { readonly fence: string })[]): Promise<readonly Inspection[]> {
    return this.#redis.bySlot(
      tasks,
      (task) => this.#key(task),
      async (part) => {
        const keys = part.map((task) => this.#key(task))
        const fences = part.map(({ fence }) => fence)
        const reply = await this.#redis.script<('' | string[])[]>('inspect', keys, fences)
        return reply.map((answer): Inspection => {
          if (answer === '') return { status: 'running' }
          const [holder = '', cancel] = answer
          return cancel === undefined
            ? { status: 'lost', holder }
            : { status: 'cancelled', cancel: parseCancel(cancel) }
        })
      },
    )
  }

  /** Gives the record of a task that was ended from outside its time to live, when its entry will not come again. */
  async retire(ref: TaskRef, fence: string): Promise<void> {
    await this.#redis.script('retire', [this.#key(ref)], [fence])
  }

  /** What is noted of a task's failed attempts. */
  async failures(ref: TaskRef): Promise<readonly AttemptFailure[]> {
    const text = await this.#redis.call<string | null>('HGET', this.#key(ref), 'failure_log')
    const json = text === null ? undefined : parseJson(text)
    return json?.ok && Array.isArray(json.value) ? (json.value as AttemptFailure[]) : []
  }

  async get(ref: TaskRef): Promise<TaskInfo | null> {
    const values = await this.#redis.call<(string | null)[]>('HMGET', this.#key(ref), ...INFO_FIELDS)
    const fields = new Map<string, string>()
    for (const [at, name] of INFO_FIELDS.entries()) if (typeof values[at] === 'string') fields.set(name, values[at])
    return fields.has('fence') ? toTaskInfo(ref, fields) : null
  }

  /** The end of a task, or its present state, or null if there is no record. */
  async getEnd(ref: TaskRef): Promise<TaskEnd | TaskInfo | null> {
    const fields = await this.#fields(ref)
    if (fields === null) return null
    const task = toTaskInfo(ref, fields)
    if (task.finishedAt === null) return task
    const parsed = (name: string) => {
      const text = fields.get(name)
      const json = text === undefined ? undefined : parseJson(text)
      return json?.ok ? json.value : null
    }
    const error = parsed('error') as TaskFault | null
    const result = parsed('result')
    const content = typeof result === 'string' ? result : (fields.get('content') ?? '')
    return { task, result, content, error, endId: fields.get('end_id') ?? '0-0' }
  }

  /** The tasks of a session, oldest first. */
  async listSession(sessionId: string): Promise<TaskInfo[]> {
    const messageIds = await sessionTasks(this.#redis, this.#keys, sessionId)
    return this.#load(messageIds.map((messageId) => ({ sessionId, messageId })))
  }

  /** Up to about `limit` tasks of all sessions, oldest first; walks the key space, so for operators only. */
  async listAll(limit: number): Promise<TaskInfo[]> {
    // A walk may come by a key more than once.
    const refs = new Map<string, TaskRef>()
    for await (const keys of this.#redis.scan(this.#keys.taskPattern(), SCAN_COUNT)) {
      for (const key of keys) {
        const ref = this.#keys.parseTask(key)
        if (ref !== null) refs.set(key, ref)
      }
      if (refs.size >= limit) break
    }
    return this.#load([...refs.values()].slice(0, limit))
  }

  async #load(refs: readonly TaskRef[]): Promise<TaskInfo[]> {
    const tasks = await Promise.all(refs.map((ref) => this.get(ref)))
    return tasks.filter((task) => task !== null).sort(bySending)
  }

  async #fields(ref: TaskRef): Promise<Map<string, string> | null> {
    const flat = await this.#redis.call<string[]>('HGETALL', this.#key(ref))
    if (flat.length === 0) return null
    const fields = new Map<string, string>()
    for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] as string, flat[i + 1] as string)
    return fields
  }

  async #admit(tasks: readonly TaskAdmission[]): Promise<AdmitAnswer[]> {
    const keys: string[] = []
    const args: string[] = []
    for (const task of tasks) {
      keys.push(this.#key(task), this.#keys.session(task.sessionId))
      args.push(...birthOf(task))
    }
    return (await this.#redis.script<(0 | 1 | string)[]>('admit', keys, args)).map(toAdmitAnswer)
  }

  #key(ref: TaskRef): string {
    return this.#keys.task(ref.sessionId, ref.messageId)
  }
}

/** Orders tasks as they were sent; those of one ms by their ids. */
export function bySending(a: TaskInfo, b: TaskInfo): number {
  return a.createdAt - b.createdAt || (a.messageId < b.messageId ? -1 : 1)
}

/** What the script `make` is told of a task. */
export function birthOf(task: TaskAdmission): string[] {
  const { messageId, agentType, traceId, parentMessageId, userCode } = task
  return [messageId, agentType, traceId, parentMessageId, userCode, timingOf(task)]
}

/** How the script `make` is told of a task's times and lane. */
export function timingOf({ delayMs, expiresInMs, lane }: TaskAdmission): string {
  if (delayMs === undefined && expiresInMs === undefined && lane === undefined) return ''
  const [delay, expiry] = [delayMs, expiresInMs].map((ms) => (ms === undefined ? '' : Math.ceil(ms)))
  return `${delay}:${expiry}${lane === undefined ? '' : `:${lane}`}`
}

/** @param answer - Of the script `make`. */
export function toAdmitAnswer(answer: 0 | 1 | string): AdmitAnswer {
  return typeof answer === 'string' ? parseCancel(answer) : answer === 1
}

/** A task from the fields of its record. */
export function toTaskInfo(ref: TaskRef, fields: ReadonlyMap<string, string>): TaskInfo {
  const fence = fields.get('fence') ?? ''
  const letter = fence.charAt(0)
  const time = (name: string) => (fields.has(name) ? Number(fields.get(name)) : null)
  return {
    sessionId: ref.sessionId,
    messageId: ref.messageId,
    status:
      letter === 'W' && fields.get('waits_for') === 'user' ? 'WAITING_USER' : (STATUS_BY_LETTER[letter] ?? 'QUEUED'),
    agentType: fields.get('agent_type') ?? '',
    traceId: fields.get('trace_id') ?? '',
    parentMessageId: fields.get('parent_message_id') ?? '',
    userCode: fields.get('user_code') ?? '',
    workerId: ownerOf(fence),
    attempt: Number(fields.get('attempt') ?? 0),
    epoch: Number(epochOf(fence)),
    createdAt: time('created_at') ?? 0,
    startedAt: time('started_at'),
    finishedAt: time('finished_at'),
    dueAt: letter === 'D' || letter === 'T' ? time('due_at') : null,
    expiresAt: /[QD]/.test(letter) && !fields.has('attempt') ? time('expires_at') : null,
  }
}
