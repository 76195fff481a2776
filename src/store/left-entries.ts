import type { RedisClient } from '../redis/client.ts'
import { type Keys, taskTail } from '../redis/keys.ts'
import type { ExpiryItem } from './agenda.ts'
import { ControlRepairs } from './control-repairs.ts'
import { taskOf } from './control-streams.ts'
import { ControlSurvey } from './control-survey.ts'
import { isEnded } from './fence.ts'
import { type TaskFacts, TaskFactsReader } from './task-facts.ts'
import type { TaskRecords } from './task-records.ts'

/** So many entries of a stream are looked at; what lies behind them is left to the workers that may come. */
const MOST_ENTRIES = 20_000
/** An entry may have an id that lies a little before its record was made, in ms. */
const LEEWAY_MS = 10
/** On a Cluster it is written before that, by another clock. */
const CLUSTER_LEEWAY_MS = 10_000

/**
 * Takes the entries of tasks that were ended before they started off their control streams, which may be of a capability
 * that nobody offers, and gives their records the time that they are to be kept. An entry that a worker has been handed
 * is left to it. Bears repeating, and being broken off: an entry goes before its record gets its time, and a record
 * whose entry has gone already gets it all the same.
 */
export class LeftEntries {
  readonly #keys: Keys
  readonly #records: TaskRecords
  readonly #facts: TaskFactsReader
  readonly #survey: ControlSurvey
  readonly #repairs: ControlRepairs
  readonly #leewayMs: number

  /** @param group - The consumer group that the streams are read with. */
  constructor(redis: RedisClient, keys: Keys, records: TaskRecords, group: string) {
    this.#keys = keys
    this.#records = records
    this.#facts = new TaskFactsReader(redis, keys)
    this.#survey = new ControlSurvey(redis, group)
    this.#repairs = new ControlRepairs(redis, group)
    this.#leewayMs = redis.isCluster ? CLUSTER_LEEWAY_MS : LEEWAY_MS
  }

  /** Tasks that have no end, or whose entries were seen off, are left alone. */
  async clear(items: readonly ExpiryItem[]): Promise<void> {
    if (items.length === 0) return
    const found = await this.#facts.read(items)
    const byStream = new Map<string, TaskFacts[]>()
    found.forEach((task, index) => {
      const { priority } = items[index] as ExpiryItem
      if (task === null || task.keepMs === null || !isEnded(task.fence.text) || priority === undefined) return
      const key = this.#keys.control(task.agentType, priority)
      const others = byStream.get(key)
      if (others === undefined) byStream.set(key, [task])
      else others.push(task)
    })
    await Promise.all([...byStream].map(([key, tasks]) => this.#clearStream(key, tasks)))
  }

  async #clearStream(key: string, tasks: readonly TaskFacts[]): Promise<void> {
    const wanted = new Map(tasks.map((task) => [taskTail(task.sessionId, task.messageId), task]))
    const missing = new Set(tasks)
    let seen = 0
    for await (const { entries } of this.#survey.walk(key, this.#beginning(tasks))) {
      await Promise.all(
        entries.map(async ({ id, data, isDelivered }) => {
          const task = wanted.get(taskOf(data))
          if (task === undefined) return
          missing.delete(task)
          if (!isDelivered && (await this.#repairs.withdraw(key, id))) await this.#retire(task)
        }),
      )
      seen += entries.length
      if (missing.size === 0 || seen >= MOST_ENTRIES) return
    }
    // Who took theirs off died before the next step. That of a delayed task may not have come yet.
    await Promise.all([...missing].map((task) => (task.dueAt === null ? this.#retire(task) : undefined)))
  }

  #beginning(tasks: readonly TaskFacts[]): number {
    const first = tasks.reduce((ms, { dueAt, createdAt }) => Math.min(ms, dueAt ?? createdAt), Number.MAX_SAFE_INTEGER)
    return Math.max(first - this.#leewayMs, 0)
  }

  #retire({ sessionId, messageId, fence }: TaskFacts): Promise<void> {
    return this.#records.retire({ sessionId, messageId }, fence.text)
  }
}
