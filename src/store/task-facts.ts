import type { TaskFault } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { isObject, parseJson } from '../protocol/json.ts'
import type { RedisClient } from '../redis/client.ts'
import { type Keys, type LaneName, PRIORITIES } from '../redis/keys.ts'
import { type CancelRequest, parseCancel } from './cancel-request.ts'
import { STATUS_BY_LETTER } from './fence.ts'

/** The packed ownership of a task, taken apart: `state:epoch:entry:owner`. */
export interface Fence {
  readonly text: string
  /** Q queued, D delayed, T retrying, R running, and the ends C, F, X, E. */
  readonly state: string
  readonly epoch: number
  /** The one control entry that may run the task; empty where none is bound. */
  readonly entryId: string
  readonly owner: string
}

/** A control stream on which a task's entry may lie. */
export interface TaskLane {
  readonly key: string
  readonly priority: LaneName
  readonly version: string | undefined
}

/** All of a task's record that an operator's tools look at. Times are Unix ms by Redis' clock. */
export interface TaskFacts extends TaskRef {
  readonly fence: Fence
  readonly agentType: string
  /** The lane of the one worker that may run it; null for what any worker of its capability may. */
  readonly lane: LaneName | null
  readonly traceId: string
  readonly parentMessageId: string
  readonly createdAt: number
  readonly startedAt: number | null
  readonly finishedAt: number | null
  readonly dueAt: number | null
  readonly expiresAt: number | null
  /** Its entry may lie on the lane of this version; see begin.lua. */
  readonly laneVersion: string | null
  /** Number of the attempt that runs or ran last; 0 before the first start. */
  readonly attempt: number
  /** Why it ended otherwise than well, or, before its end, why its last attempt failed. */
  readonly error: TaskFault | null
  /** Set once a cancel was asked for while the task ran. */
  readonly cancel: CancelRequest | null
  /**
   * Set for a task that was ended from outside while its entry may still lie on a stream: so long its record is to be kept
   * once a worker has seen that entry off.
   */
  readonly keepMs: number | null
  /** Time the record has left in ms; null: for ever. */
  readonly ttlMs: number | null
}

const FIELDS = [
  ...['fence', 'agent_type', 'trace_id', 'parent_message_id', 'created_at', 'started_at', 'finished_at', 'due_at'],
  ...['expires_at', 'attempt', 'error', 'failure_log', 'cancel', 'keep_ms', 'lane', 'lane_version'],
]

/** Reads many records at once, without their results. */
export class TaskFactsReader {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** The facts of each task; null where there is no record, or none that can be read. */
  async read(refs: readonly TaskRef[]): Promise<(TaskFacts | null)[]> {
    const keys = refs.map(({ sessionId, messageId }) => this.#keys.task(sessionId, messageId))
    const replies = await this.#redis.all<(string | null)[] | number>(
      keys.flatMap((key) => [['HMGET', key, ...FIELDS] as const, ['PTTL', key] as const]),
    )
    return refs.map((ref, index) => {
      const values = replies[2 * index] as (string | null)[]
      return toFacts(ref, values, replies[2 * index + 1] as number)
    })
  }
}

/** Takes a fence apart; null for what is none. */
export function parseFence(text: string): Fence | null {
  const [, state, epoch, entryId = '', owner = ''] = /^([A-Z]):(\d+):([^:]*):(.*)$/s.exec(text) ?? []
  return state === undefined ? null : { text, state, epoch: Number(epoch), entryId, owner }
}

function toFacts(ref: TaskRef, values: readonly (string | null)[], ttl: number): TaskFacts | null {
  const text = (name: string) => values[FIELDS.indexOf(name)] ?? null
  const time = (name: string) => (text(name) === null ? null : Number(text(name)))
  const fence = parseFence(text('fence') ?? '')
  if (fence === null) return null
  return {
    ...{ sessionId: ref.sessionId, messageId: ref.messageId, fence, agentType: text('agent_type') ?? '' },
    lane: text('lane') as LaneName | null,
    ...{ traceId: text('trace_id') ?? '', parentMessageId: text('parent_message_id') ?? '' },
    ...{ createdAt: time('created_at') ?? 0, startedAt: time('started_at'), finishedAt: time('finished_at') },
    ...{ dueAt: time('due_at'), expiresAt: time('expires_at') },
    laneVersion: text('lane_version'),
    attempt: time('attempt') ?? 0,
    // The failures before a success are its history, not its end.
    error: STATUS_BY_LETTER[fence.state] === 'COMPLETED' ? null : faultOf(text('error'), text('failure_log')),
    cancel: text('cancel') === null ? null : parseCancel(text('cancel') ?? ''),
    keepMs: time('keep_ms'),
    ttlMs: ttl < 0 ? null : ttl,
  }
}

/**
 * The control streams on which a task's entry may lie: the lane of the one worker that it is for, or the shared ones,
 * with those of the version that is to go on with it.
 */
export function lanesOfTask(
  keys: Keys,
  { agentType, lane, laneVersion }: Pick<TaskFacts, 'agentType' | 'lane' | 'laneVersion'>,
): TaskLane[] {
  if (lane !== null) return [{ priority: lane, version: undefined, key: keys.control(agentType, lane) }]
  const versions = laneVersion === null ? [undefined] : [laneVersion, undefined]
  return versions.flatMap((version) =>
    PRIORITIES.map((priority) => ({ priority, version, key: keys.control(agentType, priority, version) })),
  )
}

function parsed(text: string | null): unknown {
  const json = text === null ? undefined : parseJson(text)
  return json?.ok ? json.value : null
}

function toFault(value: unknown): TaskFault | null {
  if (!isObject(value)) return null
  return { code: String(value.code ?? ''), message: String(value.message ?? '') }
}

function faultOf(error: string | null, failureLog: string | null): TaskFault | null {
  return toFault(parsed(error)) ?? lastFailure(parsed(failureLog))
}

function lastFailure(log: unknown): TaskFault | null {
  return Array.isArray(log) ? toFault(log.at(-1)) : null
}
