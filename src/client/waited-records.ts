import type { TaskEnder } from '../dispatch/task-ender.ts'
import type { TaskRef } from '../protocol/ids.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { type TaskEnd, type TaskInfo, TaskRecords } from '../store/task-records.ts'

/**
 * Records as one reads them who waits for an end. A worker ends the tasks that were not started in time; where there is
 * none, whoever waits for such a task does it himself. Redis is asked for the time only while a task can still expire.
 */
export class WaitedRecords extends TaskRecords {
  readonly #ender: TaskEnder

  constructor(redis: RedisClient, keys: Keys, ender: TaskEnder) {
    super(redis, keys)
    this.#ender = ender
  }

  override async getEnd(ref: TaskRef): Promise<TaskEnd | TaskInfo | null> {
    const end = await super.getEnd(ref)
    if (end === null || 'endId' in end || end.expiresAt === null || end.expiresAt > (await this.now())) return end
    await this.#ender.expire(ref)
    return super.getEnd(ref)
  }
}
