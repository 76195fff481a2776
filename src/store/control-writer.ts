import type { RedisClient } from '../redis/client.ts'
import { type Keys, type LaneName, type Priority, taskTail, workerOfLane } from '../redis/keys.ts'
import { InboxWriter } from './inbox.ts'
import { type AdmitAnswer, type TaskAdmission, timingOf, toAdmitAnswer } from './task-records.ts'

/** An envelope for a control stream. */
export interface Outgoing {
  readonly capability: string
  readonly data: string
  /** Its lane. Default `normal`. */
  readonly priority?: LaneName | undefined
  /** Which of the task's starts this is for; a first send has none. See begin.lua. */
  readonly turn?: string | undefined
  /** Refused when its lane has so many entries already, waiting or running. Default 0: no limit. */
  readonly limit?: number | undefined
}

/** The first send of a task. */
export interface Departure {
  readonly task: TaskAdmission
  readonly data: string
  readonly priority: LaneName
  /** As in {@link Outgoing}. */
  readonly limit?: number | undefined
}

/** An envelope for the lane of a version. */
export interface HandedOver {
  readonly capability: string
  readonly priority: Priority
  readonly version: string
  readonly data: string
  readonly turn: string
}

/** An entry that goes back to a control stream with the fields it had. */
export interface ReturningEntry {
  readonly capability: string
  readonly priority: LaneName
  readonly fields: readonly (readonly [name: string, value: string | Buffer])[]
}

/** The sender's end of the control streams. */
export class ControlWriter {
  readonly #redis: RedisClient
  readonly #keys: Keys
  readonly #inboxes: InboxWriter

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
    this.#inboxes = new InboxWriter(redis, keys)
  }

  /**
   * Puts envelopes on their streams, all in one call per slot; answers each entry's id, or null where its limit was
   * reached and nothing was written.
   */
  enqueue(items: readonly Outgoing[]): Promise<readonly (string | null)[]> {
    const keyOf = ({ capability, priority }: Outgoing) => this.#keys.control(capability, priority)
    const written = this.#redis.bySlot(items, keyOf, async (part) => {
      const args: (string | number)[] = []
      for (const { data, turn = '', limit = 0 } of part) args.push(data, turn, limit)
      const ids = await this.#redis.script<string[]>('enqueue', part.map(keyOf), args)
      return ids.map((id) => (id === '' ? null : id))
    })
    return items.some(isForOne) ? this.#thenWake(items, written) : written
  }

  /**
   * Sends tasks: an entry and a record for each, both or neither; only on a single Redis. Answers for each whether its
   * record was made, or null where its limit was reached and nothing was written. Its worker may begin it as it is handed out.
   */
  send(departures: readonly Departure[]): Promise<readonly (AdmitAnswer | null)[]> {
    const written = this.#send(departures)
    return departures.some(isForOne) ? this.#thenWake(departures, written) : written
  }

  async #send(departures: readonly Departure[]): Promise<readonly (AdmitAnswer | null)[]> {
    // Where several leave at once, those who take them are hardly waiting.
    const newest = departures.length === 1 ? this.#keys.newest() : ''
    const args = [this.#keys.taskHead(), this.#keys.sessionHead(), newest]
    const streams = departures.map(({ task, data, priority, limit }) => {
      const { agentType, traceId, parentMessageId, userCode } = task
      const timing = timingOf(task)
      const terms = limit === undefined && timing === '' ? '' : `${limit ?? ''} ${timing}`
      args.push(data, terms, taskTail(task.sessionId, task.messageId), agentType, traceId, parentMessageId, userCode)
      return this.#keys.control(agentType, priority)
    })
    const answers = await this.#redis.script<(0 | 1 | string)[]>('send', streams, args)
    return answers.map((answer) => (answer === '' ? null : toAdmitAnswer(answer)))
  }

  /** Puts an envelope on the lane of a version: only workers that go on with its tasks take it. */
  async handOver({ capability, priority, version, data, turn }: HandedOver): Promise<void> {
    await this.#redis.script('handOver', [this.#keys.control(capability, priority, version)], [data, turn])
  }

  /** Tells of each lane whether entries can be put there: false where its key is of another kind, somebody else's. */
  async areStreams(lanes: readonly Pick<ReturningEntry, 'capability' | 'priority'>[]): Promise<boolean[]> {
    const keys = lanes.map(({ capability, priority }) => this.#keys.control(capability, priority))
    const each = [...new Set(keys)]
    const kinds = await this.#redis.all<string>(each.map((key) => ['TYPE', key] as const))
    const others = new Set(each.filter((_, index) => kinds[index] !== 'stream' && kinds[index] !== 'none'))
    return keys.map((key) => !others.has(key))
  }

  /** Puts entries back on their streams, byte for byte, all in one call per slot. */
  async giveBack(entries: readonly ReturningEntry[]): Promise<void> {
    if (entries.length === 0) return
    const keyOf = ({ capability, priority }: ReturningEntry) => this.#keys.control(capability, priority)
    await this.#redis.bySlot(entries, keyOf, async (part) => {
      const args = part.flatMap(({ fields }) => [fields.length * 2, ...fields.flat()])
      return this.#redis.script<string[]>('giveBack', part.map(keyOf), args)
    })
    if (entries.some(isForOne)) await this.#thenWake(entries, Promise.resolve())
  }

  /** Tells the workers whose own lanes were written to; they look there themselves, too, but not all the time. */
  async #thenWake<Written>(items: readonly Addressed[], writing: Promise<Written>): Promise<Written> {
    const written = await writing
    const workerIds = items.flatMap(({ priority = 'normal' }) => workerOfLane(priority) ?? [])
    await this.#inboxes.wakeForLanes(new Set(workerIds))
    return written
  }
}

type Addressed = Pick<Outgoing, 'priority'>

function isForOne({ priority }: Addressed): boolean {
  return priority?.startsWith('@') === true
}
