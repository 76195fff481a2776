import type { TaskRef } from '../protocol/ids.ts'
import { isOfOneItem, runApart } from '../redis/apart.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import type { TaskAdmission } from './task-records.ts'

/** What to make of a record that is gone. */
export type Birth = TaskAdmission & { readonly epoch: number }

/** A task that is to wait for a worker again, and the control entry whose failure made it end. */
export interface RevivalRequest extends TaskRef {
  /** The epoch for which that entry was put on its stream. */
  readonly turn: number
  readonly entryId: string
  /** Asked where the record is gone. */
  readonly birth: () => Birth
}

/** What became of it. */
export type RevivalAnswer =
  /** It waits for an entry with this turn, whoever revived it. */
  | { readonly status: 'revived'; readonly turn: string }
  /** It is on its way, runs, or has another end than FAILED; `isPast`: what the entry did is history. */
  | { readonly status: 'waiting' | 'running' | 'ended'; readonly isPast: boolean }
  /** Its record or its session's index is a key of another kind; nothing was written. */
  | { readonly status: 'wrong-kind'; readonly isPast: false }

/** What the script says. */
type Reply = [status: RevivalAnswer['status'] | 'missing', epoch: string, isPast: number]

const WRONG_KIND: Reply = ['wrong-kind', '0', 0]

/** A request as the script takes it. */
interface Call {
  readonly request: RevivalRequest
  readonly birth: Birth | undefined
}

/** Gives failed tasks another life: same ids, same history, a fresh budget of attempts. */
export class TaskRevivals {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /**
   * Revives tasks, all in one call per slot, and one more where records are gone. With `looksOnly` nothing is written,
   * and the answers are the same.
   */
  async revive(requests: readonly RevivalRequest[], looksOnly: boolean): Promise<readonly RevivalAnswer[]> {
    const calls = requests.map((request) => ({ request, birth: undefined }))
    const replies = [...(await this.#call(calls, looksOnly))]
    const missing = replies.flatMap(([status], index) => (status === 'missing' ? [index] : []))
    const births = missing.map((index) => {
      const request = requests[index] as RevivalRequest
      return { request, birth: request.birth() }
    })
    for (const [position, reply] of (await this.#call(births, looksOnly)).entries()) {
      replies[missing[position] as number] = reply
    }
    return replies.map(toAnswer)
  }

  #call(calls: readonly Call[], looksOnly: boolean): Promise<readonly Reply[]> {
    if (calls.length === 0) return Promise.resolve([])
    const keyOf = ({ request: { sessionId, messageId } }: Call) => this.#keys.task(sessionId, messageId)
    return this.#redis.bySlot(calls, keyOf, (all) =>
      apart(all, (part) => {
        const keys = part.flatMap((call) => [keyOf(call), this.#keys.session(call.request.sessionId)])
        const args = part.flatMap(({ request: { messageId, turn, entryId }, birth }) => [
          ...[messageId, turn, entryId, birth === undefined ? '' : JSON.stringify(toFields(birth))],
        ])
        return this.#redis.script<Reply[]>('revive', keys, [looksOnly ? 1 : 0, ...args])
      }),
    )
  }
}

/** A key of another kind is the matter of its own task. */
async function apart(
  calls: readonly Call[],
  run: (calls: readonly Call[]) => Promise<readonly Reply[]>,
): Promise<Reply[]> {
  const replies = await runApart(calls, run).catch((error: unknown) => calls.map(() => error))
  return replies.map((reply): Reply => {
    if (Array.isArray(reply)) return reply as Reply
    if (isOfOneItem(reply)) return WRONG_KIND
    throw reply
  })
}

function toFields({ epoch, agentType, traceId, parentMessageId, userCode }: Birth): Record<string, string> {
  const ids = { trace_id: traceId, parent_message_id: parentMessageId, user_code: userCode }
  return { epoch: String(epoch), agent_type: agentType, ...ids }
}

function toAnswer([status, epoch, isPast]: Reply): RevivalAnswer {
  if (status === 'revived') return { status, turn: epoch }
  if (status === 'missing') throw new TypeError('a task was neither found nor made')
  return status === 'wrong-kind' ? { status, isPast: false } : { status, isPast: isPast === 1 }
}
