import type { Redis } from 'ioredis'
import { Keys } from '../src/redis/keys.ts'
import { sleep } from '../src/util/sleep.ts'
import type { Load } from './load.ts'
import type { ReaderPlan, TaskPlan } from './plan.ts'
import { CAPABILITY, PIT } from './work.ts'

const LOOK_EVERY_MS = 100
const PAGE = 1_000
/** More than an agenda has. */
const AGENDA_SHARDS = 64
const ENDED = /^[CFXE]:/

/** What is looked at. */
export interface Scene {
  readonly redis: Redis
  readonly prefix: string
  readonly load: Load
}

/**
 * Waits until each accepted task has its end and nothing is left to run; false if nothing has changed for `timeoutMs`,
 * or when `signal` aborts.
 */
export async function allEnded(
  { redis, prefix, load }: Scene,
  tasks: readonly TaskPlan[],
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<boolean> {
  let state = ''
  const keys = new Keys(prefix)
  const lanes = [CAPABILITY, PIT].flatMap((each) =>
    (['high', 'normal', 'low'] as const).map((priority) => keys.control(each, priority)),
  )
  const agendas = Array.from({ length: AGENDA_SHARDS }, (_, shard) => keys.agenda(shard).due)
  const isOver = async () => {
    // What leaves an agenda is on a control stream by then, and what leaves a control stream has its end by then.
    const waiting = [
      load.sending,
      ...(await Promise.all(agendas.map((agenda) => redis.zcard(agenda)))),
      ...(await Promise.all(lanes.map((lane) => redis.xlen(lane)))),
    ]
    const accepted = tasks.filter(({ task }) => load.accepted.has(task))
    const fences: (string | null)[] = []
    // Page by page: the workers' connections pass through this process, which one look at all would keep for seconds.
    for (let from = 0; from < accepted.length; from += PAGE) {
      const page = accepted.slice(from, from + PAGE)
      const found = page.map(({ task, session }) => redis.hget(keys.task(session, task), 'fence'))
      fences.push(...(await Promise.all(found)))
    }
    state = `${waiting} ${fences}`
    if (!waiting.every((count) => count === 0) || !fences.every((fence) => ENDED.test(fence ?? ''))) return false
    // Tasks that others called and do not wait for may wait themselves.
    const open = await openTasks(redis, prefix)
    state = open.join(' ')
    return open.length === 0
  }
  return until(isOver, timeoutMs, { signal, stateOf: () => state })
}

/** The records that have no end, with their states; a record that nobody has accepted does not count. */
async function openTasks(redis: Redis, prefix: string): Promise<string[]> {
  const open: string[] = []
  for await (const page of redis.scanStream({ match: new Keys(prefix).taskPattern(), count: 1_000 })) {
    const records = page as string[]
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
