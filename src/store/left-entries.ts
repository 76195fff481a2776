import type { TaskRef } from '../protocol/ids.ts'
import { runApart } from '../redis/apart.ts'
import type { RedisClient } from '../redis/client.ts'
import { type Keys, type LaneName, taskTail } from '../redis/keys.ts'
import { entryField, type RawEntry } from '../redis/streams.ts'
import { Batchers } from '../util/batchers.ts'
import { ControlRepairs } from './control-repairs.ts'
import { type ControlStream, taskOf } from './control-streams.ts'
import { ControlSurvey } from './control-survey.ts'
import { isEnded } from './fence.ts'
import { Presence } from './presence.ts'
import { lanesOfTask, type TaskFacts, TaskFactsReader } from './task-facts.ts'
import type { TaskOutline, TaskRecords } from './task-records.ts'

/** So many entries of a stream are looked at; what lies behind them is left to the workers that may come. */
const MOST_ENTRIES = 20_000
/** An entry may have an id that lies a little before its record was made, in ms. */
const LEEWAY_MS = 10
/** On a Cluster it is written before that, by another clock. */
const CLUSTER_LEEWAY_MS = 10_000
/** A batch of this size needs its own walk over the stream anyhow. */
const MOST_TASKS = 1_000

/** A task that has its end. */
export interface LeftTask extends TaskRef {
  /** The lane on which its entry lies, if that is known. */
  readonly priority?: LaneName | undefined
  /** Nothing that is noted will put an entry of it on its lane any more: of an expired one what is not there is gone. Default false. */
  readonly hasCome?: boolean
}

/** What was found of such a task. */
interface Left {
  readonly task: TaskFacts
  readonly hasCome: boolean
  /** Where its entries may lie. */
  readonly keys: readonly string[]
  readonly entries: { readonly key: string; readonly id: string }[]
  /** False once a walk was broken off: there may be more entries than were found. */
  isWhole: boolean
}

/**
 * Takes the entries of tasks that were ended from outside off their control streams, which may be of a capability that
 * nobody offers, and gives their records the time that they are to be kept. An entry that a worker has been handed is
 * left to it, but for those of a lane whose one worker may never come back. Bears repeating, and for expired tasks being
 * broken off: an entry goes before its record gets its time, and one whose entry has gone already gets it all the same.
 *
 * A record may only go when no entry can come to light any more, or a cancelled task would run. One that has expired would
 * not: its envelope says until when it may start. So of that the one entry that is known of is enough, and of others all
 * are looked for, which takes a walk to the end of each lane.
 */
export class LeftEntries {
  readonly #redis: RedisClient
  readonly #keys: Keys
  readonly #records: TaskRecords
  readonly #facts: TaskFactsReader
  readonly #survey: ControlSurvey
  readonly #repairs: ControlRepairs
  readonly #presence: Presence
  readonly #isCluster: boolean
  readonly #leewayMs: number
  readonly #cleared: Batchers<LeftTask & Pick<TaskFacts, 'agentType'>, undefined>

  constructor(redis: RedisClient, keys: Keys, records: TaskRecords) {
    this.#redis = redis
    this.#keys = keys
    this.#records = records
    this.#facts = new TaskFactsReader(redis, keys)
    // Who has an entry is looked at when it is taken off, in whatever group that may be.
    this.#survey = new ControlSurvey(redis, '')
    this.#repairs = new ControlRepairs(redis, '')
    this.#presence = new Presence(redis, keys)
    this.#isCluster = redis.isCluster
    this.#leewayMs = this.#isCluster ? CLUSTER_LEEWAY_MS : LEEWAY_MS
    // While a node of a Cluster is away, only what has to go there waits for it.
    const placeOf = ({ agentType, sessionId }: TaskRef & Pick<TaskFacts, 'agentType'>) =>
      this.#isCluster ? `${agentType} ${sessionId}` : agentType
    this.#cleared = new Batchers(placeOf, {
      maxItems: MOST_TASKS,
      run: (all) =>
        runApart(all, async (refs) => {
          await this.clear(refs)
          return refs.map(() => undefined)
        }),
    })
  }

  /** The same as {@link clear} for one task; what comes while others are seen to is seen to together. */
  async clearOne({ sessionId, messageId, agentType }: TaskOutline, hasCome: boolean): Promise<void> {
    await this.#cleared.add({ sessionId, messageId, agentType, hasCome })
  }

  /**
   * Tasks that have no end, or whose entries were seen off, are left alone; and so are expired ones whose lane is not
   * known, cancelled ones whose capability, and version if they wait for one, somebody offers, who comes by their entries,
   * and those of which an entry may still be put on a stream.
   */
  async clear(items: readonly LeftTask[]): Promise<void> {
    if (items.length === 0) return
    const left = await this.#look(items)
    const byKey = new Map<string, Left[]>()
    for (const one of left) {
      for (const key of one.keys) {
        const others = byKey.get(key)
        if (others === undefined) byKey.set(key, [one])
        else others.push(one)
      }
    }
    await Promise.all([...byKey].map(([key, all]) => this.#find(key, all)))
    await Promise.all(left.map((one) => this.#takeOff(one)))
  }

  /**
   * Deletes an entry of a task that has its end, wherever it lies: one whose ack was lost would run the task again, should
   * it come to light when the record is gone. Entries of other tasks may have the same id on other lanes.
   */
  async forget(task: TaskOutline, entryId: string): Promise<void> {
    const keys = lanesOfTask(this.#keys, task).map(({ key }) => key)
    const found = await this.#redis.all<RawEntry[]>(keys.map((key) => ['XRANGE', key, entryId, entryId] as const))
    const name = taskTail(task.sessionId, task.messageId)
    const own = keys.filter((_, index) => found[index]?.some((raw) => taskOf(entryField(raw, 'data')) === name))
    await Promise.all(own.map((key) => this.#redis.call('XDEL', key, entryId)))
  }

  /** Takes an entry off its lane that nobody was handed. */
  async withdraw(
    { capability, priority }: Pick<ControlStream, 'capability' | 'priority'>,
    entryId: string,
  ): Promise<void> {
    await this.#repairs.withdraw(this.#keys.control(capability, priority), entryId)
  }

  async #look(items: readonly LeftTask[]): Promise<Left[]> {
    const found = await this.#facts.read(items)
    const isOffered = await this.#offers(found.filter((task) => task !== null))
    return found.flatMap((task, index): Left[] => {
      if (task === null || task.keepMs === null || !isEnded(task.fence.text)) return []
      const { hasCome = false } = items[index] as LeftTask
      const keys = this.#keysOf(task, items[index] as LeftTask, isOffered)
      return keys.length === 0 ? [] : [{ task, hasCome, keys, entries: [], isWhole: true }]
    })
  }

  /** Tells whether a live worker would take a task, which may be for those of one version only. */
  async #offers(tasks: readonly TaskFacts[]): Promise<(task: TaskFacts) => boolean> {
    const offered = new Set<string>()
    const capabilities = new Set(tasks.filter(isForAnyVersion).map(({ agentType }) => agentType))
    const [workers] = await Promise.all([
      tasks.some(isOfVersion) ? this.#presence.list() : [],
      ...[...capabilities].map(async (capability) => {
        if ((await this.#presence.online(capability)).length > 0) offered.add(capability)
      }),
    ])
    return ({ agentType, laneVersion }) =>
      laneVersion === null
        ? offered.has(agentType)
        : workers.some((one) => one.capabilities.includes(agentType) && one.agentVersions.includes(laneVersion))
  }

  #keysOf(task: TaskFacts, { priority, hasCome = false }: LeftTask, isOffered: (task: TaskFacts) => boolean): string[] {
    const { agentType, lane } = task
    if (lane !== null) return [this.#keys.control(agentType, lane)]
    if (hasExpired(task)) return priority === undefined ? [] : [this.#keys.control(agentType, priority)]
    const isLeft = (hasCome || isFirstSend(task) || isOfVersion(task)) && (this.#mayHaveNone(task) || !isOffered(task))
    return isLeft ? lanesOfTask(this.#keys, task).map(({ key }) => key) : []
  }

  async #find(key: string, all: readonly Left[]): Promise<void> {
    const wanted = new Map(all.map((one) => [taskTail(one.task.sessionId, one.task.messageId), one]))
    const missing = new Set(all)
    let seen = 0
    for await (const { entries } of this.#survey.walk(key, this.#beginning(all))) {
      for (const { id, data } of entries) {
        const one = wanted.get(taskOf(data))
        if (one === undefined) continue
        one.entries.push({ key, id })
        if (hasOneEntry(one)) missing.delete(one)
      }
      seen += entries.length
      if (missing.size === 0) return
      if (seen < MOST_ENTRIES) continue
      for (const one of missing) one.isWhole = false
      return
    }
  }

  async #takeOff(left: Left): Promise<void> {
    const { task, hasCome, entries, isWhole } = left
    if (!isWhole) return
    // Who took that of an expired task off died before the next step. That of a cancelled one may be older than its record.
    if (entries.length === 0 && !(hasCome && (hasExpired(task) || this.#mayHaveNone(task)))) return
    const isForOne = task.lane !== null
    const became = await Promise.all(entries.map(({ key, id }) => this.#repairs.withdraw(key, id, isForOne)))
    if (became.includes('held')) return
    // One that is gone, as it is for a call that is repeated after a lost answer, may have been put back at the end of its stream.
    if (became.includes('gone') && !hasExpired(task) && !(await this.#findsNone(left))) return
    const { sessionId, messageId, fence } = task
    await this.#records.retire({ sessionId, messageId }, fence.text)
  }

  /** True for what was held back on a Cluster: its sender may have come no further than to its record. */
  #mayHaveNone({ fence, dueAt }: TaskFacts): boolean {
    return this.#isCluster && fence.text === 'X:0::' && dueAt !== null
  }

  /** True if another walk finds none. */
  async #findsNone(left: Left): Promise<boolean> {
    const { keys } = left
    const again: Left = { ...left, entries: [], isWhole: true }
    await Promise.all(keys.map((key) => this.#find(key, [again])))
    return again.isWhole && again.entries.length === 0
  }

  #beginning(all: readonly Left[]): number {
    const first = all.reduce((ms, { task }) => Math.min(ms, firstAt(task)), Number.MAX_SAFE_INTEGER)
    return Math.max(first - this.#leewayMs, 0)
  }
}

/** When its first entry can have come; one that was cancelled may have been sent without its delay, too. */
function firstAt(task: TaskFacts): number {
  return (hasExpired(task) ? task.dueAt : null) ?? task.createdAt
}

function hasExpired({ fence }: TaskFacts): boolean {
  return fence.state === 'E'
}

/** True for what any worker might have run, had it not been cancelled before its first start. */
function isFirstSend({ fence, lane, dueAt }: TaskFacts): boolean {
  return fence.text === 'X:0::' && lane === null && dueAt === null
}

/** True for what a cancel has ended and workers of any version, as far as is known, would come for. */
function isForAnyVersion(task: TaskFacts): boolean {
  return !hasExpired(task) && task.lane === null && task.laneVersion === null
}

/** True for what only workers of one version go on with, as far as is known. */
function isOfVersion({ lane, laneVersion }: TaskFacts): boolean {
  return lane === null && laneVersion !== null
}

/** True if there is no need to look for more entries than one. */
function hasOneEntry({ task }: Left): boolean {
  return hasExpired(task) && task.lane === null
}
