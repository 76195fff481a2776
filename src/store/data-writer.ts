import type { TaskRef } from '../protocol/ids.ts'
import { runApart } from '../redis/apart.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { Batcher, type BatcherOptions } from '../util/batcher.ts'
import { Batchers } from '../util/batchers.ts'
import { Answers, type RawTell, type Tell, toTells } from './answers.ts'
import { Armings } from './armings.ts'
import { type CancelRequest, parseCancel } from './cancel-request.ts'
import { ControlWriter } from './control-writer.ts'
import { InboxWriter } from './inbox.ts'
import type { Retention } from './retention.ts'

/** What is appended to a session's stream on behalf of a task, and perhaps the task's end. */
export interface Commit extends TaskRef {
  /** The packed ownership that must still hold; see task-records.ts. */
  readonly fence: string
  /** Number of the first event within the task; numbers go on from attempt to attempt. 0: whatever comes next. */
  readonly first: number
  /** Events as JSON. */
  readonly events: readonly string[]
  /** With an end the last event must be `done`. */
  readonly end?: CommitEnd
  /** Id of the task's last event, where it is known: saves the server a look at that. */
  readonly lastId?: string | undefined
  /** What a replay is compared with: see `Emitter.sum`. Kept as it is if left out. */
  readonly sum?: string | undefined
}

/** Where a commit comes from. */
export interface CommitSource extends Pick<TaskRef, 'sessionId'> {
  /** Asked for the commit when it is about to be sent, so that all said until then can go with it. */
  take(): Commit
}

/** Who is told what became of it. */
export interface CommitSink {
  resolve(answer: CommitAnswer): void
  reject(error: unknown): void
}

/** How an attempt leaves its task. */
export interface CommitEnd {
  /** See `endedFence` and `parkedFence`. */
  readonly fence: string
  /** Fields of the record; for a parked task the first is `due_at`, in ms from now. */
  readonly fields: Readonly<Record<string, string>>
  /** The control stream with the entry of the fence, which is acked and deleted with the end where that can be done. */
  readonly control?: string | undefined
}

/**
 * What became of a commit: written, or refused because `holder` is the ownership that holds now, or because the task is
 * cancelled and can only end so.
 */
export type CommitAnswer =
  | {
      readonly ok: true
      /** Id of the last event written, or of a later one of the session; '' if that was the task's last word. */
      readonly lastId: string
      /** The entry was acked and deleted. */
      readonly isSettled?: boolean
      /** Others wait for the end of the task: hand this to {@link DataWriter.tell}. */
      readonly tells?: readonly Tell[]
    }
  | { readonly ok: false; readonly holder: string; readonly cancel?: CancelRequest }

/** A session's TTLs are re-armed at most once a minute, and four times in the shortest of them. */
const ARM_EVERY_MS = 60_000
const ARM_FRACTION = 4

const ARM_CODE = { no: '', arm: '1', sweep: '2' } as const

type RawConclusion = 1 | 2 | [holder: string, second?: string, ...tells: RawTell[]]

/** A commit with which a task ends, or is left to its next attempt. */
type Concluding = Commit & { readonly end: CommitEnd }

const WRITTEN: CommitAnswer = { ok: true, lastId: '' }
const SETTLED: CommitAnswer = { ok: true, lastId: '', isSettled: true }

/** The writer's end of the data streams: fenced, numbered, many tasks in one call, in the order of the calls. */
export class DataWriter {
  readonly #redis: RedisClient
  readonly #keys: Keys
  /** What `say` and `conclude` are told of every call: see lua/include/events.lua. */
  readonly #header: readonly (string | number)[]
  /** Undefined where no entries can be acked: on a Cluster they lie in other slots. */
  readonly #group: string | undefined
  readonly #armings: Armings
  readonly #answers: Answers
  readonly #batcher: Pick<Batcher<CommitSource, CommitAnswer>, 'add' | 'put'>
  #saying: Promise<unknown> | undefined

  /**
   * @param options.chance - Where the chances of {@link Armings} come from.
   * @param options.group - The consumer group for which entries are acked. Default: none is.
   */
  constructor(
    redis: RedisClient,
    keys: Keys,
    retention: Retention,
    { chance, group }: { chance?: () => number; group?: string } = {},
  ) {
    this.#redis = redis
    this.#keys = keys
    this.#group = redis.isCluster ? undefined : group
    this.#answers = new Answers(new ControlWriter(redis, keys), new InboxWriter(redis, keys))
    const push = redis.isCluster ? ['SPUBLISH', 'SHARDNUMSUB'] : ['PUBLISH', 'NUMSUB']
    const { resultTtlMs, streamTtlMs, streamMaxLength } = retention
    const periodMs = Math.min(ARM_EVERY_MS, resultTtlMs / ARM_FRACTION, streamTtlMs / ARM_FRACTION)
    this.#armings = new Armings(periodMs, chance === undefined ? {} : { chance })
    // What is re-armed once in a period must last a period longer than what it is there for.
    const streamTtl = Math.ceil(streamTtlMs + periodMs)
    this.#header = [resultTtlMs, streamTtl, streamMaxLength, ...push, redis.channelTail]
    const batches: BatcherOptions<CommitSource, CommitAnswer> = {
      maxItems: 128,
      maxInFlight: 2,
      // Where the server is far away, two under way are too few.
      largeItems: 32,
      run: async (sources, isAlone) => {
        const commits = sources.map((source) => source.take())
        const keyOf = ({ sessionId }: Commit) => keys.data(sessionId)
        // Whoever listens comes first. Where there is much to say they hear it soon enough.
        if (isAlone && commits.length === 1) redis.hearLast()
        return runApart(commits, (some) => redis.bySlot(some, keyOf, (part) => this.#send(part)))
      },
    }
    // While a node of a Cluster is away, only the sessions that lie there wait for it.
    this.#batcher = redis.isCluster ? new Batchers(({ sessionId }) => sessionId, batches) : new Batcher(batches)
  }

  /** Sends what there is to say now. */
  commit(source: () => Commit): Promise<CommitAnswer> {
    const commit = source()
    return this.#batcher.add({ sessionId: commit.sessionId, take: () => commit })
  }

  /** The same without a promise, for those who commit for each task. */
  put(source: CommitSource, sink: CommitSink): void {
    this.#batcher.put(source, sink)
  }

  /** Resolves when the words that left last are there, be it in vain; at once if an end left with them or since. Never rejects. */
  async said(): Promise<void> {
    await this.#saying?.catch(() => undefined)
  }

  /** Tells those who wait for the end of a task that it has come. Bears repeating. */
  tell(tells: readonly Tell[]): Promise<void> {
    return this.#answers.tell(tells)
  }

  /** The same for a task that has ended before: whoever ended it may have died before he told. */
  async tellAgain({ sessionId, messageId }: TaskRef): Promise<void> {
    const raw = await this.#redis.script<RawTell[]>('journalReply', [this.#keys.task(sessionId, messageId)], [])
    await this.#answers.tell(toTells(this.#keys, raw))
  }

  async #send(commits: readonly Commit[]): Promise<CommitAnswer[]> {
    const ends = commits.filter(isEnd)
    this.#saying = undefined
    if (ends.length === commits.length) return this.#conclude(ends)
    if (ends.length === 0) {
      const said = this.#say(commits)
      this.#saying = said
      return said
    }
    // Both leave in one write.
    const [concluded, said] = await Promise.all([
      this.#conclude(ends),
      this.#say(commits.filter((commit) => !isEnd(commit))),
    ])
    const [nextEnd, nextWords] = [concluded.values(), said.values()]
    return commits.map((commit) => (isEnd(commit) ? nextEnd : nextWords).next().value as CommitAnswer)
  }

  async #say(commits: readonly Commit[]): Promise<CommitAnswer[]> {
    const keys: string[] = []
    const args: (string | number)[] = [...this.#header, commits.length]
    for (const commit of commits) {
      const { sessionId, fence, first, events, sum = '', lastId = '' } = commit
      this.#addKeys(keys, commit)
      const arm = ARM_CODE[this.#armings.due(sessionId)]
      args.push(
        fence,
        `${first}:${first + events.length - 1}:${events.length}:${sum === '' ? '' : 1}:${arm}:${lastId === '' ? '' : 1}`,
      )
      for (const event of events) args.push(event)
      if (sum !== '') args.push(sum)
      if (lastId !== '') args.push(lastId)
    }
    const reply = await this.#redis.script<(string | [holder: string])[]>('say', keys, args)
    return reply.map((answer) =>
      typeof answer === 'string' ? { ok: true, lastId: answer } : { ok: false, holder: answer[0] },
    )
  }

  async #conclude(commits: readonly Concluding[]): Promise<CommitAnswer[]> {
    const keys: string[] = []
    const args: (string | number)[] = [...this.#header, commits.length, this.#group ?? '']
    const controls: string[] = []
    for (const commit of commits) {
      const { sessionId, fence, first, events, end, lastId = '' } = commit
      this.#addKeys(keys, commit)
      const fields = Object.entries(end.fields)
      const arm = ARM_CODE[this.#armings.due(sessionId)]
      const ack = end.control === undefined || this.#group === undefined ? 0 : placeOf(end.control, controls)
      args.push(
        fence,
        `${first}:${first + events.length - 1}:${events.length}:${end.fence.charAt(0)}:${fields.length * 2}:${arm}:${lastId === '' ? '' : 1}:${ack}`,
      )
      for (const event of events) args.push(event)
      for (const [name, value] of fields) args.push(name, value)
      if (lastId !== '') args.push(lastId)
    }
    keys.push(...controls)
    const reply = await this.#redis.script<RawConclusion[]>('conclude', keys, args)
    return reply.map((answer, index) => this.#toAnswer(answer, commits[index] as Concluding))
  }

  #addKeys(keys: string[], { sessionId, messageId }: Commit): void {
    keys.push(this.#keys.task(sessionId, messageId), this.#keys.data(sessionId), this.#keys.session(sessionId))
  }

  #toAnswer(answer: RawConclusion, { end }: Concluding): CommitAnswer {
    if (answer === 1) return WRITTEN
    if (answer === 2) return SETTLED
    const [holder = '', second, ...raw] = answer
    if (holder === '+') return { ok: true, lastId: second ?? '', tells: toTells(this.#keys, raw as RawTell[]) }
    if (second !== undefined) return { ok: false, holder, cancel: parseCancel(second) }
    // The call was sent again after a lost reply, and its first copy had already ended the task: that end is ours.
    return holder !== '' && holder === end.fence ? { ok: true, lastId: '' } : { ok: false, holder }
  }
}

function isEnd(commit: Commit): commit is Concluding {
  return commit.end !== undefined
}

/** Counts from 1. */
function placeOf(key: string, keys: string[]): number {
  const place = keys.indexOf(key) + 1
  return place > 0 ? place : keys.push(key)
}
