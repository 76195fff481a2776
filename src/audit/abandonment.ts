import { GatewayError } from '../errors.ts'
import { eventEncoder } from '../protocol/event.ts'
import { MessageHeader } from '../protocol/header.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { DataWriter, type Retention } from '../store/data-streams.ts'
import type { TaskFacts } from '../store/task-facts.ts'

/** Ends tasks that nothing can run any more, as a worker would: record and `done` event in one script. */
export class Abandonment {
  readonly #writer: DataWriter
  /** How long what an ended task leaves is kept. */
  readonly retention: Retention

  constructor(redis: RedisClient, keys: Keys, retention: Retention) {
    this.retention = retention
    this.#writer = new DataWriter(redis, keys, retention)
  }

  /**
   * Ends a task as FAILED, or as CANCELLED if that was asked for, unless it has moved on since its facts were read;
   * true if this call ended it.
   */
  async end(task: TaskFacts, reason: string): Promise<boolean> {
    const { sessionId, messageId, traceId, parentMessageId, agentType, fence } = task
    const { code, message } = new GatewayError('GW_TASK_LOST', { reason })
    const error = { code, message }
    const status = task.cancel === null ? 'FAILED' : 'CANCELLED'
    const encode = eventEncoder(new MessageHeader({ sessionId, messageId, traceId, parentMessageId }), agentType)
    const done = encode({ type: 'done', status, error }, task.failures + 1)
    const fields = { error: JSON.stringify(error) }
    const commit = { sessionId, messageId, fence: fence.text, first: task.written + 1, events: [done] }
    const answer = await this.#writer.commit(() => ({ ...commit, end: { status, fields } }))
    return answer.ok
  }
}
