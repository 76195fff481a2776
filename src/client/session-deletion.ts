import { z } from 'zod'
import type { HistoryStore } from '../agent/history.ts'
import type { Canceller } from '../dispatch/canceller.ts'
import { HistoryBuffer } from '../history/buffer.ts'
import { decodeCommand } from '../protocol/codec.ts'
import { checkId } from '../protocol/ids.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { ControlRepairs } from '../store/control-repairs.ts'
import { ControlSurvey } from '../store/control-survey.ts'
import { DEFAULT_GROUP } from '../store/defaults.ts'
import { isEnded } from '../store/fence.ts'
import type { InboxWriter } from '../store/inbox.ts'
import type { Presence } from '../store/presence.ts'
import { type EntryTrace, SessionRemains } from '../store/session-remains.ts'
import { lanesOfTask, type TaskFacts, TaskFactsReader } from '../store/task-facts.ts'
import { parseOptions } from '../util/parse-options.ts'
import { sleep } from '../util/sleep.ts'
import type { DeadLetterOffice } from './dead-letter-office.ts'

/** How a session is deleted; everything has a default. */
export interface DeleteSessionOptions {
  /** How long to wait for workers to let go of tasks that ran, in ms. Default 10,000. */
  readonly timeoutMs?: number | undefined
  /** The workers' consumer group. Default `agent_engines`. */
  readonly consumerGroup?: string | undefined
}

/** What became of a session that was to be deleted. */
export interface DeleteSessionAnswer {
  /** True if nothing is left; what is goes by itself when a worker takes it over. */
  readonly success: boolean
  /** Tasks whose records are gone. */
  readonly tasks: number
  /** Tasks that had no end yet, and were cancelled. */
  readonly cancelled: number
  /**
   * Tasks that a worker has been handed and not let go of in time: it is busy, or dead. Of their records only that they
   * are cancelled is left, until a worker sees them; their messages still lie on the control stream so long.
   */
  readonly left: number
  /** `NOT_CONFIGURED`: this client has no `history`, so that a shared one was not told. */
  readonly history: 'CLEARED' | 'NOT_CONFIGURED'
}

const schema = z.strictObject({
  timeoutMs: z.number().int().min(0).default(10_000),
  consumerGroup: z.string().min(1).default(DEFAULT_GROUP),
})
const LOOK_MS = 50
const WISH = { reason: 'the session was deleted', requestedBy: '', mode: 'force' } as const

/** The entries of a task that were found on its control streams, as far as they are with workers. */
class FoundEntries {
  #held: readonly { readonly key: string; readonly id: string }[] = []

  add(key: string, id: string): void {
    this.#held = [...this.#held, { key, id }]
  }

  get trace(): EntryTrace | undefined {
    return this.#held.length === 0 ? 'gone' : undefined
  }

  /** Looks which of them are still there. */
  async look(survey: ControlSurvey): Promise<void> {
    const exist = await Promise.all(this.#held.map(({ key, id }) => survey.exists(key, id)))
    this.#held = this.#held.filter((_, index) => exist[index])
  }
}

/** Deletes sessions, with all that knows of them. May be repeated, and bears being broken off. */
export class SessionDeletion {
  readonly #redis: RedisClient
  readonly #keys: Keys
  readonly #remains: SessionRemains
  readonly #facts: TaskFactsReader
  readonly #canceller: Canceller
  readonly #deadLetters: DeadLetterOffice
  readonly #presence: Presence
  readonly #inboxes: InboxWriter
  readonly #history: HistoryStore | undefined

  constructor(options: {
    redis: RedisClient
    keys: Keys
    canceller: Canceller
    deadLetters: DeadLetterOffice
    presence: Presence
    inboxes: InboxWriter
    history: HistoryStore | undefined
  }) {
    this.#redis = options.redis
    this.#keys = options.keys
    this.#remains = new SessionRemains(options.redis, options.keys)
    this.#facts = new TaskFactsReader(options.redis, options.keys)
    this.#canceller = options.canceller
    this.#deadLetters = options.deadLetters
    this.#presence = options.presence
    this.#inboxes = options.inboxes
    this.#history = options.history
  }

  /**
   * Cancels what has no end, by force, so that nothing of it is written any more; then removes everything, the history
   * when the workers have let go of their tasks, so that nothing of them comes in afterwards.
   */
  async delete(sessionId: string, options: DeleteSessionOptions): Promise<DeleteSessionAnswer> {
    checkId('sessionId', sessionId)
    const { timeoutMs, consumerGroup } = parseOptions(schema, options)
    const statuses = await this.#canceller.cancelSession(sessionId, WISH)
    const cancelled = [...statuses.values()].filter((status) => status === 'CANCELLED').length
    const messageIds = await this.#remains.messageIds(sessionId)
    const { left, newcomers } = await this.#forgetTasks(sessionId, messageIds, { timeoutMs, group: consumerGroup })
    await this.#forgetWords(sessionId)
    await this.#deadLetters.drop({ sessionId })
    await this.#remains.forgetEvents(sessionId)
    const history = this.#history === undefined ? 'NOT_CONFIGURED' : 'CLEARED'
    return {
      ...{ success: left.length === 0, tasks: messageIds.length - left.length - newcomers },
      ...{ cancelled, left: left.length, history },
    }
  }

  /** Answers those of which something is left, and how many were sent after the cancel: they go on as any other task does. */
  async #forgetTasks(
    sessionId: string,
    messageIds: readonly string[],
    { timeoutMs, group }: { readonly timeoutMs: number; readonly group: string },
  ): Promise<{ readonly left: readonly string[]; readonly newcomers: number }> {
    const until = performance.now() + timeoutMs
    const kept = await this.#remains.forgetTasks(sessionId, messageIds, () => undefined)
    if (kept.length === 0) return { left: kept, newcomers: 0 }
    const facts = await this.#facts.read(kept.map((messageId) => ({ sessionId, messageId })))
    const tasks = facts.filter((task) => task !== null)
    const ended = tasks.filter(({ fence }) => isEnded(fence.text))
    const newcomers = tasks.length - ended.length
    const survey = new ControlSurvey(this.#redis, group)
    const entries = await this.#unqueue(sessionId, ended, { survey, repairs: new ControlRepairs(this.#redis, group) })
    const traceOf = (messageId: string) => (entries.has(messageId) ? entries.get(messageId)?.trace : 'unseen')
    const meant = ended.map(({ messageId }) => messageId)
    let left = await this.#remains.forgetTasks(sessionId, meant, traceOf)
    // The others are with workers, who hear of the cancel and let go of them.
    while (left.length > 0 && performance.now() < until) {
      await sleep(LOOK_MS)
      await Promise.all(left.map((messageId) => entries.get(messageId)?.look(survey)))
      left = await this.#remains.forgetTasks(sessionId, left, traceOf)
    }
    return { left, newcomers }
  }

  /** Takes the entries of tasks that nobody was handed yet off their control streams; answers what it has found. */
  async #unqueue(
    sessionId: string,
    tasks: readonly TaskFacts[],
    { survey, repairs }: { readonly survey: ControlSurvey; readonly repairs: ControlRepairs },
  ): Promise<ReadonlyMap<string, FoundEntries>> {
    const lanes = tasks.flatMap((task) => lanesOfTask(this.#keys, task).map(({ key }) => key))
    const meant = new Set(tasks.map(({ messageId }) => messageId))
    const found = new Map<string, FoundEntries>()
    for (const key of new Set(lanes)) {
      for await (const { entries } of survey.walk(key)) {
        for (const { id, data } of entries) {
          const decoded = decodeCommand(data, Number.MAX_SAFE_INTEGER)
          const { sessionId: owner, messageId = '' } = (decoded.ok ? decoded.command.header : decoded.header) ?? {}
          if (owner !== sessionId || !meant.has(messageId)) continue
          const own = found.get(messageId) ?? new FoundEntries()
          found.set(messageId, own)
          if ((await repairs.withdraw(key, id)) !== 'withdrawn') own.add(key, id)
        }
      }
    }
    return found
  }

  async #forgetWords(sessionId: string): Promise<void> {
    const workers = await this.#presence.list()
    await this.#inboxes.forget(
      workers.map(({ workerId }) => workerId),
      sessionId,
    )
    if (this.#history === undefined) return
    const buffer = new HistoryBuffer(this.#redis, this.#keys, { name: this.#history.name ?? 'default', workerId: '' })
    await buffer.removeSession(sessionId)
    await this.#history.clear(sessionId)
  }
}
