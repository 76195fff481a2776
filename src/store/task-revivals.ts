import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import type { TaskAdmission } from './task-records.ts'

/** A task that is to wait for a worker again, and the control entry whose failure made it end. */
export interface RevivalRequest {
  readonly sessionId: string
  readonly messageId: string
  readonly turn: number
  readonly entryId: string
  /** What to make of a record that is gone; without it one is told. */
  readonly birth?: TaskAdmission & { readonly epoch: number }
}

/** What became of it. */
export type RevivalAnswer =
  /** It waits for an entry with this turn, whoever revived it. */
  | { readonly status: 'revived'; readonly turn: string }
  | { readonly status: 'missing' }
  /** It is on its way, runs, or has another end than FAILED; `isPast`: what the entry did is history. */
  | { readonly status: 'waiting' | 'running' | 'ended'; readonly isPast: boolean }

/** Gives failed tasks another life: same ids, same history, a fresh budget of attempts. */
export class TaskRevivals {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** Revives tasks, all in one call per slot. With `looksOnly` nothing is written, and the answers are the same. */
  revive(requests: readonly RevivalRequest[], looksOnly: boolean): Promise<readonly RevivalAnswer[]> {
    const keyOf = ({ sessionId, messageId }: RevivalRequest) => this.#keys.task(sessionId, messageId)
    if (requests.length === 0) return Promise.resolve([])
    return this.#redis.bySlot(requests, keyOf, async (part) => {
      const keys = part.flatMap((request) => [keyOf(request), this.#keys.session(request.sessionId)])
      const args = part.flatMap(({ messageId, turn, entryId, birth }) => [
        ...[messageId, turn, entryId, birth === undefined ? '' : JSON.stringify(toFields(birth))],
      ])
      const replies = await this.#redis.script<RevivalReply[]>('revive', keys, [looksOnly ? 1 : 0, ...args])
      return replies.map(toAnswer)
    })
  }
}

type RevivalReply = [status: RevivalAnswer['status'], epoch: string, isPast: number]

function toFields(birth: NonNullable<RevivalRequest['birth']>): Record<string, string> {
  const { epoch, agentType, traceId, parentMessageId, userCode } = birth
  const ids = { trace_id: traceId, parent_message_id: parentMessageId, user_code: userCode }
  return { epoch: String(epoch), agent_type: agentType, ...ids }
}

function toAnswer([status, epoch, isPast]: RevivalReply): RevivalAnswer {
  if (status === 'revived') return { status, turn: epoch }
  return status === 'missing' ? { status } : { status, isPast: isPast === 1 }
}
