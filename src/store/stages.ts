import { randomUUID } from 'node:crypto'
import type { RedisClient } from '../redis/client.ts'
import { isShared, type Keys } from '../redis/keys.ts'
import { sleep } from '../util/sleep.ts'
import { AHEAD_AGAIN_MS, type TakenItem } from './agenda.ts'
import { hasEnvelope, type ReadyItem } from './agenda-items.ts'

/** Fewer tasks that are due together go to their stream as fast without a stage. */
const LEAST_ITEMS = 50
/** Most tasks of a stage: the server does nothing else while it puts them on their stream. */
const MOST_ITEMS = 500
/**
 * Longest wait, in ms, for a server that says it is too early: on a Cluster it is not the one that knows the due time, and
 * one that is slow by more holds up nobody.
 */
const LONGEST_WAIT_MS = 1_000
const MOST_WAITS = 3

/** Tasks that are due together on one control stream, with their envelopes laid down beside it. */
export interface Stage {
  readonly key: string
  readonly stream: string
  readonly turn: string
  readonly dueAt: number
  readonly items: readonly ReadyItem[]
}

/**
 * Tasks that are due at the same moment in large numbers: their envelopes, which are most of the work, are brought to the
 * server ahead of time, to lists in the slots of their control streams, so that at the moment a short command is left for
 * hundreds of them. A stage means nothing by itself: only who laid it down puts it on the stream, what is on it stays on
 * the agenda until then, and it goes after a while if its owner does.
 */
export class Stages {
  readonly #redis: RedisClient
  readonly #keys: Keys

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
  }

  /** Lays down those tasks of a take that come in large numbers; answers their stages. */
  async layDown(taken: readonly TakenItem[]): Promise<Stage[]> {
    const crowds = new Map<string, { stage: Omit<Stage, 'key' | 'items'>; waitMs: number; items: ReadyItem[] }>()
    for (const { item, waitMs, dueAt } of taken) {
      if (item.kind !== 'ready' || waitMs === 0 || !hasEnvelope(item) || !isShared(item.priority)) continue
      const { turn } = item
      const stream = this.#keys.control(item.capability, item.priority)
      const name = `${dueAt} ${turn} ${stream}`
      const crowd = crowds.get(name)
      if (crowd === undefined) crowds.set(name, { stage: { stream, turn, dueAt }, waitMs, items: [item] })
      else crowd.items.push(item)
    }
    const laying = [...crowds.values()].flatMap(({ stage, waitMs, items }) =>
      items.length < LEAST_ITEMS
        ? []
        : inParts(items).map((part) =>
            this.#lay({ ...stage, key: this.#keys.stage(stage.stream, randomUUID()), items: part }, waitMs),
          ),
    )
    return Promise.all(laying)
  }

  async #lay(stage: Stage, waitMs: number): Promise<Stage> {
    const texts = stage.items.map(({ data }) => data)
    await this.#redis.script(
      'stage',
      [stage.key, this.#keys.stageRoom(stage.key)],
      [waitMs + AHEAD_AGAIN_MS, stage.turn, ...texts],
    )
    return stage
  }

  /**
   * Puts a stage on its stream, not before it is due by the clock of the server; false if the stage was gone, be it that an
   * answer was lost: who writes its tasks by themselves then may write them twice.
   */
  async open(stage: Stage): Promise<boolean> {
    const keys = [stage.key, this.#keys.stageRoom(stage.key), stage.stream]
    for (let waits = 0; ; waits += 1) {
      // A timer may be early by a part of a millisecond.
      const at = waits < MOST_WAITS ? stage.dueAt : 0
      const [leftMs, count] = await this.#redis.script<[number, number]>('unstage', keys, [at, stage.turn])
      if (leftMs <= 0) return count > 0
      await sleep(Math.min(leftMs, LONGEST_WAIT_MS))
    }
  }
}

function inParts(items: readonly ReadyItem[]): ReadyItem[][] {
  const parts: ReadyItem[][] = []
  for (let from = 0; from < items.length; from += MOST_ITEMS) parts.push(items.slice(from, from + MOST_ITEMS))
  return parts
}
