import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { parseEntry, type RawEntry } from '../redis/streams.ts'

/** Something a worker could not process, kept for an operator. */
export interface DeadLetter {
  /** Id of the entry in the dead-letter stream; its first part is when it came there (Unix ms). */
  readonly id: string
  readonly capability: string
  readonly reason: string
  readonly detail: string
  /** What stood in the control entry's `data` field, byte for byte; empty if there was no such field. */
  readonly data: string
  /** Id of the control entry. */
  readonly entryId: string
  readonly workerId: string
  readonly sessionId: string
  readonly messageId: string
}

/** Both ends of the dead-letter streams. */
export class DeadLetters {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  async add(letter: Omit<DeadLetter, 'id'>): Promise<void> {
    const fields = {
      data: letter.data,
      reason: letter.reason,
      detail: letter.detail,
      entry_id: letter.entryId,
      worker_id: letter.workerId,
      session_id: letter.sessionId,
      message_id: letter.messageId,
    }
    await this.#redis.call('XADD', this.#keys.dead(letter.capability), '*', ...Object.entries(fields).flat())
  }

  /** The newest letters of a capability, newest first. */
  async list(capability: string, limit: number): Promise<DeadLetter[]> {
    const key = this.#keys.dead(capability)
    const entries = await this.#redis.call<RawEntry[]>('XREVRANGE', key, '+', '-', 'COUNT', limit)
    return entries.map((raw) => {
      const { id, fields } = parseEntry(raw)
      const text = (name: string) => fields.get(name) ?? ''
      return {
        id,
        capability,
        reason: text('reason'),
        detail: text('detail'),
        data: text('data'),
        entryId: text('entry_id'),
        workerId: text('worker_id'),
        sessionId: text('session_id'),
        messageId: text('message_id'),
      }
    })
  }

  count(capability: string): Promise<number> {
    return this.#redis.call<number>('XLEN', this.#keys.dead(capability))
  }
}
