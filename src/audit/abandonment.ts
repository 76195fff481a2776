import { GatewayError } from '../errors.ts'
import { cancelledDone } from '../protocol/endings.ts'
import { eventEncoder } from '../protocol/event.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys, LaneName } from '../redis/keys.ts'
import { ControlWriter } from '../store/control-writer.ts'
import { DataWriter } from '../store/data-writer.ts'
import { endedFence } from '../store/fence.ts'
import { KeySpace } from '../store/key-space.ts'
import type { Retention } from '../store/retention.ts'
import type { TaskFacts } from '../store/task-facts.ts'

/**
 * Moves on what nothing moves any more: a task that waited for an answer and has it goes on; any other ends as a worker
 * would end it, record and `done` event in one script.
 */
export class Abandonment {
  readonly #writer: DataWriter
  readonly #redis: RedisClient
  readonly #control: ControlWriter
  readonly #keys: Keys
  readonly #space: KeySpace
  /** How long what an ended task leaves is kept. */
  readonly retention: Retention

  constructor(redis: RedisClient, keys: Keys, retention: Retention) {
    this.retention = retention
    this.#writer = new DataWriter(redis, keys, retention)
    this.#redis = redis
    this.#control = new ControlWriter(redis, keys)
    this.#keys = keys
    this.#space = new KeySpace(redis, keys)
  }

  /**
   * Puts a task that has its answer back on its stream; ends any other as FAILED, or as CANCELLED if that was asked for,
   * unless it has moved on since its facts were read. True if this call did either.
   */
  async end(task: TaskFacts, reason: string): Promise<boolean> {
    if (await this.#resume(task)) return true
    const { sessionId, messageId, agentType, attempt, cancel } = task
    const fence = task.fence.text
    const done = cancel === null ? strandedDone(reason) : cancelledDone(cancel.reason)
    const event = eventEncoder(task, agentType)(done, attempt)
    const ended = endedFence(fence, done.status)
    const end = { fence: ended, fields: { error: JSON.stringify(done.error) } }
    const answer = await this.#writer.commit(() => ({ sessionId, messageId, fence, first: 0, events: [event], end }))
    // Nobody will come by an entry that is gone, and only then is it time for the record to go, too.
    const record = this.#keys.task(sessionId, messageId)
    if (answer.ok) await this.#space.expireEnded(task, ended, record, this.retention.resultTtlMs)
    if (answer.ok && answer.tells !== undefined) await this.#writer.tell(answer.tells)
    return answer.ok
  }

  /** Whoever brought the answer died before the entry was on its stream; one too many does no harm, by its turn. */
  async #resume({ sessionId, messageId, fence, cancel }: TaskFacts): Promise<boolean> {
    if (fence.state !== 'Q' || cancel !== null) return false
    const key = this.#keys.task(sessionId, messageId)
    const [data, home] = await this.#redis.call<(string | null)[]>('HMGET', key, 'envelope', 'home')
    if (typeof data !== 'string' || typeof home !== 'string') return false
    const [capability = '', priority] = home.split(' ')
    await this.#control.enqueue([{ capability, priority: priority as LaneName, data, turn: String(fence.epoch) }])
    return true
  }
}

function strandedDone(reason: string) {
  const { code, message } = new GatewayError('GW_TASK_STRANDED', { reason })
  return { type: 'done', status: 'FAILED', error: { code, message } } as const
}
