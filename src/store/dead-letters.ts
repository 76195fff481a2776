import { DATA_FIELD } from '../protocol/codec.ts'
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
  /** The fencing token of the task's last attempt; 0 if there was none. */
  readonly epoch?: number
  /** The failed attempts, as JSON. */
  readonly history?: string
}

/** Both ends of the dead-letter streams. */
export class DeadLetters {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** Keeps an entry with all its fields, byte for byte: what cannot be understood need not be text either. */
  async add(letter: Omit<DeadLetter, 'id' | 'data'>, controlKey: string): Promise<void> {
    const { entryId } = letter
    const [entry] = await this.#redis.callBuffer<[Buffer, Buffer[]][]>('XRANGE', controlKey, entryId, entryId)
    const fields = {
      reason: letter.reason,
      detail: letter.detail,
      entry_id: letter.entryId,
      worker_id: letter.workerId,
      session_id: letter.sessionId,
      message_id: letter.messageId,
      epoch: String(letter.epoch ?? 0),
      history: letter.history ?? '[]',
    }
    const key = this.#keys.dead(letter.capability)
    await this.#redis.call('XADD', key, '*', ...originalFields(entry?.[1] ?? []), ...Object.entries(fields).flat())
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

/** The entry's own fields; those that are not `data` under a name that cannot be taken for one of ours. */
function originalFields(flat: readonly Buffer[]): (string | Buffer)[] {
  return flat.map((part, position) => {
    if (position % 2 === 1) return part
    const name = part.toString()
    return name === DATA_FIELD ? name : `entry.${name}`
  })
}
