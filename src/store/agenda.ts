import type { TaskRef } from '../protocol/ids.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { Batchers } from '../util/batchers.ts'
import { type AgendaItem, type Appointment, type ItemName, memberOf, noteOf, toItem } from './agenda-items.ts'
import { type AdmitAnswer, birthOf, type TaskAdmission, toAdmitAnswer } from './task-records.ts'

/*
 * What is to be done later with tasks: a sorted set of due times with the payloads in a hash beside it, in a few shards
 * so that a Cluster has something to spread. One process is the keeper of a shard; it sleeps until the next item is due,
 * and whoever adds an earlier one is told to wake it. An item leaves only when it was done: one that was taken by a
 * keeper who died is due again after a while, so every deed must bear being done twice.
 *
 * A task that is to be put on its stream is handed to the keeper a little earlier, with the time that is left: when
 * thousands are due at once, their payloads have been fetched by then, and only the writes remain.
 */

/** A task that is held back, with what is to be done with it later. */
export interface HeldBack {
  readonly task: TaskAdmission
  readonly appointments: readonly Appointment[]
}

/** What a task needs no more. */
export interface Needless {
  /** Operations that have their results, or will never have one. Default none. */
  readonly ops?: readonly string[]
  /** The task has started, or has its end. Default false. */
  readonly expiry?: boolean
  /** The turn for which it waited until it was {@link Agenda.cancel | cancelled}. Default none. */
  readonly turn?: string
}

/** What has become of the turn for which a task waited that has its end now. */
export type TurnAfterCancel =
  /**
   * It will never be put on its stream. Its turn is to be struck out once its record has its time, or its keeper gets it
   * without an envelope.
   */
  | 'taken-back'
  /** A keeper has it, and an entry is to be expected. */
  | 'in-hand'
  /** It waits for none: what was to come has come. */
  | 'not-noted'

/** What the keeper of a shard gets. */
export interface AgendaTake {
  /** True for the keeper. */
  readonly isKeeper: boolean
  /** Ask again after so long, in ms. */
  readonly pauseMs: number
  readonly items: readonly TakenItem[]
}

/** An item in the hands of its keeper. */
export interface TakenItem {
  readonly item: AgendaItem
  /** Time left until it is to be done, in ms; 0 when it is due. More only for `ready`. */
  readonly waitMs: number
  /** When it is to be done, in Unix ms of the server. */
  readonly dueAt: number
}

/** Shards of the agenda; all processes of a prefix must agree, so it is no option. */
const SHARDS = 4
/** A keeper that does not ask for so long is one no more, in ms. */
const KEEPER_MS = 3_000
/** An item that was taken and not removed is due again after so long, in ms. */
const AGAIN_MS = 5_000
/** How long before its time a task is handed to the keeper, in ms. */
const AHEAD_MS = 500
/** Such a task is due again so long after its time, in ms: no later than its keeper's time would have run out. */
export const AHEAD_AGAIN_MS = KEEPER_MS
/** Most items of one take. */
const MOST_ITEMS = 1_000
/** About the most that the payloads of one take weigh. */
const MOST_BYTES = 1_048_576
/** Longest sleep of a keeper and of those who stand by, in ms: what a lost wake-up, or a keeper's leave, may cost. */
const LONGEST_PAUSE_MS = 1_000

/** Both ends of the agenda. */
export class Agenda {
  readonly #redis: RedisClient
  readonly #keys: Keys
  readonly #strikes: Batchers<{ readonly shard: number; readonly item: ItemName }, undefined>

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
    this.#strikes = new Batchers(({ shard }) => String(shard), {
      maxItems: MOST_ITEMS,
      run: async (struck) => {
        const items = struck.map(({ item }) => item)
        await this.remove((struck[0] as (typeof struck)[number]).shard, items)
        return items.map(() => undefined)
      },
    })
  }

  /** Numbers of all shards. */
  readonly shards: readonly number[] = Array.from({ length: SHARDS }, (_, shard) => shard)

  /**
   * Notes items with their delays in ms; what is noted already stays as it is. Answers the keepers that sleep too long
   * now and are to be woken.
   */
  async add(items: readonly Appointment[]): Promise<ReadonlySet<string>> {
    const keepers = await this.#redis.bySlot(
      items,
      ({ item }) => this.#home(item).due,
      (part) => {
        const keys = part.flatMap(({ item }) => {
          const { due, payloads, keeper } = this.#home(item)
          return [due, payloads, keeper]
        })
        return this.#redis.script<string[]>('agendaAdd', keys, part.flatMap(noteOf))
      },
    )
    return sleepers(keepers)
  }

  /**
   * Makes the records of tasks and notes their appointments, both or neither; only on a single Redis. Answers for each
   * whether its record was made, and the keepers that are to be woken. Of a task that was sent before and has begun or
   * ended nothing is noted.
   */
  async hold(tasks: readonly HeldBack[]): Promise<{
    readonly admitted: readonly AdmitAnswer[]
    readonly keepers: ReadonlySet<string>
  }> {
    const keys = tasks.flatMap(({ task }) => {
      const { due, payloads, keeper } = this.#home(task)
      return [
        this.#keys.task(task.sessionId, task.messageId),
        this.#keys.session(task.sessionId),
        due,
        payloads,
        keeper,
      ]
    })
    const args = tasks.flatMap(({ task, appointments }) => [
      ...birthOf(task),
      appointments.length,
      ...appointments.flatMap(noteOf),
    ])
    const answers = await this.#redis.script<[made: 0 | 1 | string, keeper: string][]>('hold', keys, args)
    return {
      admitted: answers.map(([made]) => toAdmitAnswer(made)),
      keepers: sleepers(answers.map(([, keeper]) => keeper)),
    }
  }

  /**
   * Takes what is due on a shard, for its keeper, and if `isAhead` the tasks that will be soon; becomes the keeper where
   * there is none.
   */
  async take(shard: number, keeperId: string, isAhead: boolean): Promise<AgendaTake> {
    const { due, payloads, keeper } = this.#keys.agenda(shard)
    const limits = [
      KEEPER_MS,
      MOST_ITEMS,
      AGAIN_MS,
      LONGEST_PAUSE_MS,
      MOST_BYTES,
      isAhead ? AHEAD_MS : 0,
      AHEAD_AGAIN_MS,
    ]
    const [pauseMs, now, ...rest] = await this.#redis.script<[number, number?, ...(number | string)[]]>(
      'agendaTake',
      [due, payloads, keeper],
      [keeperId, ...limits],
    )
    if (now === undefined) {
      return { isKeeper: false, pauseMs: Math.min(Math.max(pauseMs, 0), LONGEST_PAUSE_MS), items: [] }
    }
    const items: TakenItem[] = []
    for (let i = 0; i + 2 < rest.length; i += 3) {
      const waitMs = Number(rest[i + 2])
      items.push({ item: toItem(String(rest[i]), String(rest[i + 1])), waitMs, dueAt: now + waitMs })
    }
    return { isKeeper: true, pauseMs, items }
  }

  /** Strikes out what was done of a shard. */
  async remove(shard: number, items: readonly ItemName[]): Promise<void> {
    const { due, payloads } = this.#keys.agenda(shard)
    await this.#redis.script('agendaRemove', [due, payloads], items.map(memberOf))
  }

  /** Gives back what was taken ahead of its time, for the next keeper; what was struck out meanwhile stays so. */
  async giveBack(shard: number, items: readonly TakenItem[]): Promise<void> {
    if (items.length === 0) return
    const scores = items.flatMap(({ item, dueAt }) => [dueAt, memberOf(item)])
    await this.#redis.call('ZADD', this.#keys.agenda(shard).due, 'XX', ...scores)
  }

  /**
   * Strikes out what a task needs no more: the answers that operations of it were to be given, its expiry, its turn. What
   * others strike out in the same turn of the event loop goes with it.
   */
  async strikeOut(ref: TaskRef, { ops = [], expiry = false, turn }: Needless): Promise<void> {
    const shard = shardOf(ref.sessionId)
    const items: ItemName[] = ops.map((op) => ({ ...ref, kind: 'answer', op }))
    if (expiry) items.push({ ...ref, kind: 'expiry' })
    if (turn !== undefined) items.push({ ...ref, kind: 'ready', turn })
    await Promise.all(items.map((item) => this.#strikes.add({ shard, item })))
  }

  /** Tells of tasks that wait for their turns which are noted. */
  async holds(tasks: readonly (TaskRef & { readonly turn: string })[]): Promise<boolean[]> {
    const scores = await this.#redis.all<string | null>(
      tasks.map((task) => ['ZSCORE', this.#home(task).due, memberOf({ ...task, kind: 'ready' })] as const),
    )
    return scores.map((score) => score !== null)
  }

  /**
   * Takes back what is noted for a task that has its end, as far as no keeper has it in hand.
   *
   * @param options.keepsExpiry - Its expiry stays noted. Default false: it goes; or it is noted for when the entry that a
   * keeper has in hand has come, which then is seen off.
   */
  async cancel(
    ref: TaskRef,
    turn: string,
    { keepsExpiry = false }: { keepsExpiry?: boolean } = {},
  ): Promise<TurnAfterCancel> {
    const { due, payloads } = this.#home(ref)
    const start = memberOf({ ...ref, kind: 'ready', turn })
    const expiry = keepsExpiry ? [] : [memberOf({ ...ref, kind: 'expiry' })]
    const answer = await this.#redis.script<number>('agendaCancel', [due, payloads], [start, AGAIN_MS, ...expiry])
    return answer === 1 ? 'taken-back' : answer === 0 ? 'in-hand' : 'not-noted'
  }

  /** Gives up being the keeper of a shard. */
  async leave(shard: number, keeperId: string): Promise<void> {
    await this.#redis.script('agendaLeave', [this.#keys.agenda(shard).keeper], [keeperId])
  }

  #home({ sessionId }: TaskRef): { due: string; payloads: string; keeper: string } {
    return this.#keys.agenda(shardOf(sessionId))
  }
}

/** The same in every process and release: FNV-1a over the UTF-16 units. */
function shardOf(sessionId: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < sessionId.length; i += 1) hash = Math.imul(hash ^ sessionId.charCodeAt(i), 0x01000193)
  return (hash >>> 0) % SHARDS
}

/** Those among the answers of `note` who are to be woken. */
function sleepers(keepers: readonly string[]): ReadonlySet<string> {
  return new Set(keepers.filter((keeper) => keeper !== ''))
}
