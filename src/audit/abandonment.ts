import { GatewayError } from '../errors.ts'
import { cancelledDone } from '../protocol/endings.ts'
import { eventEncoder } from '../protocol/event.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { DataWriter, type Retention } from '../store/data-streams.ts'
import { KeySpace } from '../store/key-space.ts'
import type { TaskFacts } from '../store/task-facts.ts'
import { endedFence } from '../store/task-records.ts'

/** Ends tasks that nothing can run any more, as a worker would: record and `done` event in one script. */
export class Abandonment {
  readonly #writer: DataWriter
  readonly #keys: Keys
  readonly #space: KeySpace
  /** How long what an ended task leaves is kept. */
  readonly retention: Retention

  constructor(redis: RedisClient, keys: Keys, retention: Retention) {
    this.retention = retention
    this.#writer = new DataWriter(redis, keys, retention)
    this.#keys = keys
    this.#space = new KeySpace(redis, keys)
  }

  /**
   * Ends a task as FAILED, or as CANCELLED if that was asked for, unless it has moved on since its facts were read;
   * true if this call ended it.
   */
  async end(task: TaskFacts, reason: string): Promise<boolean> {
    const { sessionId, messageId, agentType, attempt, cancel } = task
    const fence = task.fence.text
    const done = cancel === null ? strandedDone(reason) : cancelledDone(cancel.reason)
    const event = eventEncoder(task, agentType)(done, attempt)
    const end = { fence: endedFence(fence, done.status), fields: { error: JSON.stringify(done.error) } }
    const answer = await this.#writer.commit(() => ({ sessionId, messageId, fence, first: 0, events: [event], end }))
    // Nobody will come by an entry that is gone, and only then is it time for the record to go, too.
    if (answer.ok) await this.#space.expireUnset(this.#keys.task(sessionId, messageId), this.retention.resultTtlMs)
    return answer.ok
  }
}

function strandedDone(reason: string) {
  const { code, message } = new GatewayError('GW_TASK_STRANDED', { reason })
  return { type: 'done', status: 'FAILED', error: { code, message } } as const
}
