import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { isEnded } from './fence.ts'
import { openTasks, sessionTasks } from './session-index.ts'

/** A task among the others of its session. */
export interface TaskKin {
  readonly messageId: string
  readonly parentMessageId: string
  readonly isEnded: boolean
}

/** Records in one write. */
const PER_CALL = 200

/** Reads as much of a session's tasks as their family ties need. */
export class KinReader {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** All tasks of a session. */
  async all(sessionId: string): Promise<TaskKin[]> {
    const kin: TaskKin[] = []
    for (const part of inParts(await sessionTasks(this.#redis, this.#keys, sessionId))) {
      kin.push(...(await this.#read(sessionId, part)))
    }
    return kin
  }

  /**
   * The tasks of a session that have no end, and those on whose behalf they were sent, up to the first. In a long session
   * most have their end: the index says how many have not, and lists the suspended and the newest first, so that the
   * rest is not read. Where it does not say, all are.
   */
  async open(sessionId: string): Promise<TaskKin[]> {
    const { messageIds, count } = await openTasks(this.#redis, this.#keys, sessionId)
    const kin = new Map<string, TaskKin>()
    let left = count
    for (const part of inParts(messageIds)) {
      for (const task of await this.#read(sessionId, part)) {
        kin.set(task.messageId, task)
        if (!task.isEnded) left -= 1
      }
      if (left <= 0) break
    }
    return this.#withAncestors(sessionId, kin)
  }

  async #withAncestors(sessionId: string, known: ReadonlyMap<string, TaskKin>): Promise<TaskKin[]> {
    const found = new Map([...known].filter(([, task]) => !task.isEnded))
    const asked = new Set<string>()
    for (let wanted = parentsOf(found.values()); wanted.size > 0; ) {
      const ids = [...wanted].filter((id) => id !== '' && !found.has(id) && !asked.has(id))
      const above = ids.flatMap((id) => known.get(id) ?? [])
      for (const part of inParts(ids.filter((id) => !known.has(id)))) above.push(...(await this.#read(sessionId, part)))
      for (const id of ids) asked.add(id)
      for (const task of above) found.set(task.messageId, task)
      wanted = parentsOf(above)
    }
    return [...found.values()]
  }

  /** Those of the tasks that have a record. */
  async #read(sessionId: string, messageIds: readonly string[]): Promise<TaskKin[]> {
    const rows = await this.#redis.all<(string | null)[]>(
      messageIds.map((id) => ['HMGET', this.#keys.task(sessionId, id), 'fence', 'parent_message_id'] as const),
    )
    return rows.flatMap(([fence, parentMessageId], index) => {
      if (typeof fence !== 'string') return []
      const messageId = messageIds[index] as string
      return [{ messageId, parentMessageId: parentMessageId ?? '', isEnded: isEnded(fence) }]
    })
  }
}

function parentsOf(tasks: Iterable<TaskKin>): Set<string> {
  return new Set([...tasks].map(({ parentMessageId }) => parentMessageId))
}

function* inParts(messageIds: readonly string[]): Generator<readonly string[]> {
  for (let from = 0; from < messageIds.length; from += PER_CALL) yield messageIds.slice(from, from + PER_CALL)
}
