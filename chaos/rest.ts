import type { Cluster, Redis } from 'ioredis'
import { Keys } from '../src/redis/keys.ts'
import { sleep } from '../src/util/sleep.ts'
import type { Load } from './load.ts'
import type { ReaderPlan, TaskPlan } from './plan.ts'
import { keysOf } from './servers.ts'
import { CAPABILITY, PIT } from './work.ts'

const LOOK_EVERY_MS = 100
const PAGE = 1_000
/** More than an agenda has. */
const AGENDA_SHARDS = 64
const ENDED = /^[CFXE]:/

/** What is looked at. */
export interface Scene {
  readonly redis: Redis | Cluster
  readonly prefix: string
  readonly load: Load
}

/**
 * Waits until each accepted task has its end and nothing is left to run. Answers what is left if nothing has changed for
 * `timeoutMs`, or when `signal` aborts.
 */
export async function awaitRest(
  { redis, prefix, load }: Scene,
  tasks: readonly TaskPlan[],
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const keys = new Keys(prefix)
  const lanes = [CAPABILITY, PIT].flatMap((each) =>
    (['high', 'normal', 'low'] as const).map((priority) => keys.control(each, priority)),
  )
  const agendas = Array.from({ length: AGENDA_SHARDS }, (_, shard) => keys.agenda(shard).due)
  let left = ['what was not looked at']
  const ended = new Set<string>()
  const isOver = async () => {
    const sending = load.sending > 0 ? [`${load.sending} sends`] : []
    // What leaves an agenda is on a control stream by then, and what leaves a control stream has its end by then.
    const due = await filled(agendas, (agenda) => redis.zcard(agenda))
    const waiting = await filled(lanes, (lane) => redis.xlen(lane))
    left = [...sending, ...due, ...waiting]
    if (left.length > 0) return false
    const open = tasks.filter(({ task }) => load.accepted.has(task) && !ended.has(task))
    // Page by page: the workers' connections pass through this process, which one look at all would keep for seconds.
    for (let from = 0; from < open.length; from += PAGE) {
      const page = open.slice(from, from + PAGE)
      const records = page.map(({ task, session }) => keys.task(session, task))
      const fences = await Promise.all(records.map((record) => redis.hget(record, 'fence')))
      fences.forEach((fence, index) => {
        if (ENDED.test(fence ?? '')) ended.add(page[index]?.task ?? '')
        else left.push(`${records[index]} ${fence}`)
      })
    }
    // Tasks that others called and do not wait for may wait themselves, as one may that was redriven since it was looked at.
    if (left.length === 0) left = await openTasks(redis, prefix)
    return left.length === 0
  }
  await until(isOver, timeoutMs, { signal, stateOf: () => left.join(' ') })
  return left
}

async function filled(keys: readonly string[], sizeOf: (key: string) => Promise<number>): Promise<string[]> {
  const sizes = await Promise.all(keys.map(sizeOf))
  return keys.flatMap((key, index) => (sizes[index] === 0 ? [] : [`${key} ${sizes[index]}`]))
}

/** The records that have no end, with their states; a record that nobody has accepted does not count. */
async function openTasks(redis: Redis | Cluster, prefix: string): Promise<string[]> {
  const open: string[] = []
  for await (const records of keysOf(redis, new Keys(prefix).taskPattern())) {
    const fences = await Promise.all(records.map((record) => redis.hget(record, 'fence')))
    fences.forEach((fence, index) => {
      if (fence !== null && !ENDED.test(fence) && fence !== 'Q:0::') open.push(`${records[index]} ${fence}`)
    })
  }
  return open
}

/** Waits until readers of sessions have seen the last event and readers of tasks have ended. */
export async function allRead({ redis, prefix, load }: Scene, readers: readonly ReaderPlan[], timeoutMs: number) {
  const keys = new Keys(prefix)
  const followers = readers.filter(({ task }) => task === undefined)
  return until(async () => {
    const lasts = followers.map(({ session }) => redis.xrevrange(keys.data(session), '+', '-', 'COUNT', 1))
    const ends = (await Promise.all(lasts)).map((entries) => entries[0]?.[0] ?? '0-0')
    return load.tasksUnderRead() === 0 && followers.every(({ reader }, index) => load.position(reader) === ends[index])
  }, timeoutMs)
}

/** Looks again and again; gives up when `stateOf` has answered the same for `timeoutMs`. */
async function until(
  isSo: () => Promise<boolean>,
  timeoutMs: number,
  { signal, stateOf = () => '' }: { signal?: AbortSignal | undefined; stateOf?: () => string } = {},
): Promise<boolean> {
  let state = stateOf()
  let deadline = performance.now() + timeoutMs
  while (performance.now() < deadline && !signal?.aborted) {
    if (await isSo()) return true
    if (stateOf() !== state) {
      state = stateOf()
      deadline = performance.now() + timeoutMs
    }
    await sleep(LOOK_EVERY_MS, signal)
  }
  return false
}
