import type { TaskFault } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { parseJson } from '../protocol/json.ts'
import type { TaskStatus, TerminalStatus } from '../protocol/status.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'

/*
 * A task's record is a hash. Its field `fence` packs `state:epoch:entry:owner`, so that one string comparison decides
 * whether a writer still owns the task: the state as a letter, the number of the attempt's ownership (it only grows),
 * the id of the one control entry that may run the task, and the worker.
 */

const STATUS_BY_LETTER: Readonly<Record<string, TaskStatus>> = {
  Q: 'QUEUED',
  R: 'RUNNING',
  C: 'COMPLETED',
  F: 'FAILED',
  X: 'CANCELLED',
  E: 'EXPIRED',
}

/** The letter of a terminal status inside a fence. */
export const TERMINAL_LETTER: Readonly<Record<TerminalStatus, string>> = {
  COMPLETED: 'C',
  FAILED: 'F',
  CANCELLED: 'X',
  EXPIRED: 'E',
}

/** What is known of a task when it is sent. */
export interface TaskAdmission extends TaskRef {
  readonly agentType: string
  readonly traceId: string
  readonly parentMessageId: string
  readonly userCode: string
}

/** Asks for ownership of a task by one of its control entries. */
export interface BeginRequest extends TaskRef {
  readonly entryId: string
}

/** What `begin` says: the task is ours, or why not. */
export type BeginAnswer =
  | {
      readonly status: 'begun'
      readonly epoch: number
      readonly written: number
      readonly createdAt: number
      readonly fence: string
    }
  | { readonly status: 'missing' | 'ended' | 'stale' }

/** A task as its record tells it. Times are Unix ms by Redis' clock. */
export interface TaskInfo extends TaskRef {
  readonly status: TaskStatus
  readonly agentType: string
  readonly traceId: string
  readonly parentMessageId: string
  readonly userCode: string
  /** The worker that runs it or ran it last; empty before the first start. */
  readonly workerId: string
  /** Number of the attempt that runs or ran last; 0 before the first start. */
  readonly attempt: number
  readonly createdAt: number
  readonly startedAt: number | null
  readonly finishedAt: number | null
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

/** Makes, begins and reads the records of tasks. Their writes while running are the data stream's `commit`. */
export class TaskRecords {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** Makes the records of tasks whose control entries were written; false where there was one already. */
  admit(tasks: readonly TaskAdmission[]): Promise<readonly boolean[]> {
    return this.#redis.bySlot(
      tasks,
      (task) => this.#key(task),
      (part) => this.#admit(part),
    )
  }

  /** Takes ownership of tasks for `workerId`, all in one call per slot. */
  begin(workerId: string, requests: readonly BeginRequest[]): Promise<readonly BeginAnswer[]> {
    return this.#redis.bySlot(
      requests,
      (request) => this.#key(request),
      async (part) => {
        const reply = await this.#redis.script<(string | [string, string, string])[]>(
          'begin',
          part.map((request) => this.#key(request)),
          [workerId, ...part.map(({ entryId }) => entryId)],
        )
        return reply.map((answer, index) => toBeginAnswer(answer, part[index] as BeginRequest, workerId))
      },
    )
  }

  async get(ref: TaskRef): Promise<TaskInfo | null> {
    const fields = await this.#fields(ref)
    return fields === null ? null : toTaskInfo(ref, fields)
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
    const messageIds = await this.#redis.call<string[]>('ZRANGE', this.#keys.session(sessionId), 0, -1)
    return this.#load(messageIds.map((messageId) => ({ sessionId, messageId })))
  }

  /** Up to about `limit` tasks of all sessions, oldest first; walks the key space, so for operators only. */
  async listAll(limit: number): Promise<TaskInfo[]> {
    const refs: TaskRef[] = []
    let cursor = '0'
    do {
      const [next, keys] = await this.#redis.call<[string, string[]]>(
        'SCAN',
        ...[cursor, 'MATCH', this.#keys.taskPattern(), 'COUNT', 1_000, 'TYPE', 'hash'],
      )
      cursor = next
      for (const key of keys) {
        const ref = this.#keys.parseTask(key)
        if (ref !== null) refs.push(ref)
      }
    } while (cursor !== '0' && refs.length < limit)
    return this.#load(refs.slice(0, limit))
  }

  async #load(refs: readonly TaskRef[]): Promise<TaskInfo[]> {
    const tasks = await Promise.all(refs.map((ref) => this.get(ref)))
    return tasks.filter((task) => task !== null).sort((a, b) => a.createdAt - b.createdAt)
  }

  async #fields(ref: TaskRef): Promise<Map<string, string> | null> {
    const flat = await this.#redis.call<string[]>('HGETALL', this.#key(ref))
    if (flat.length === 0) return null
    const fields = new Map<string, string>()
    for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] as string, flat[i + 1] as string)
    return fields
  }

  async #admit(tasks: readonly TaskAdmission[]): Promise<boolean[]> {
    const keys: string[] = []
    const args: string[] = []
    for (const task of tasks) {
      keys.push(this.#key(task), this.#keys.session(task.sessionId))
      args.push(task.messageId, task.agentType, task.traceId, task.parentMessageId, task.userCode)
    }
    const made = await this.#redis.script<number[]>('admit', keys, args)
    return made.map((flag) => flag === 1)
  }

  #key(ref: TaskRef): string {
    return this.#keys.task(ref.sessionId, ref.messageId)
  }
}

function toBeginAnswer(
  answer: string | [string, string, string],
  request: BeginRequest,
  workerId: string,
): BeginAnswer {
  if (typeof answer === 'string') return { status: answer as 'missing' | 'ended' | 'stale' }
  const [epoch, written, createdAt] = answer
  return {
    status: 'begun',
    epoch: Number(epoch),
    written: Number(written),
    createdAt: Number(createdAt),
    fence: `R:${epoch}:${request.entryId}:${workerId}`,
  }
}

function toTaskInfo(ref: TaskRef, fields: ReadonlyMap<string, string>): TaskInfo {
  const [letter = '', epoch = '0', , ...owner] = (fields.get('fence') ?? '').split(':')
  const time = (name: string) => (fields.has(name) ? Number(fields.get(name)) : null)
  return {
    sessionId: ref.sessionId,
    messageId: ref.messageId,
    status: STATUS_BY_LETTER[letter] ?? 'QUEUED',
    agentType: fields.get('agent_type') ?? '',
    traceId: fields.get('trace_id') ?? '',
    parentMessageId: fields.get('parent_message_id') ?? '',
    userCode: fields.get('user_code') ?? '',
    workerId: owner.join(':'),
    attempt: Number(epoch),
    createdAt: time('created_at') ?? 0,
    startedAt: time('started_at'),
    finishedAt: time('finished_at'),
  }
}
