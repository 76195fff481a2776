import { randomUUID } from 'node:crypto'
import { Keys } from '../src/redis/keys.ts'
import { sleep } from '../src/util/sleep.ts'
import type { Evidence } from './evidence.ts'
import { Journal } from './journal.ts'
import type { Plan } from './plan.ts'
import { takeSnapshot } from './snapshot.ts'
import { PREFIX, type Stage } from './stage.ts'
import { Trouble } from './trouble.ts'
import { CAPABILITY, PIT } from './work.ts'

const LOOK_EVERY_MS = 200
/** How long a run may take to come to rest after the last trouble. */
const REST_MS = 60_000
const READ_MS = 20_000
const ENDED = /^[CFXE]:/

/** Carries out a plan on a stage, waits until all is at rest, and gathers what there is to see. */
export async function conduct(plan: Plan, stage: Stage, lifecycle: boolean): Promise<[Evidence, Trouble]> {
  const trouble = new Trouble(stage)
  const { load, journal } = stage
  const steps: [number, () => unknown][] = [
    ...plan.tasks.map((task): [number, () => unknown] => [task.atMs, () => load.send(task)]),
    ...plan.readers.map((reader): [number, () => unknown] => [reader.atMs, () => load.read(reader)]),
    ...plan.poisonsAtMs.map((atMs): [number, () => unknown] => [atMs, () => poison(stage)]),
    ...plan.faults.map((fault): [number, () => unknown] => [fault.atMs, () => trouble.make(fault)]),
  ]
  await Promise.all(await perform(steps))
  stage.calm()
  journal.note({ kind: 'fault', fault: 'calm', target: 'all' })
  await atRest(stage, plan)
  load.giveUp()
  await readersAtEnd(stage, plan)
  await load.stop()
  await stage.stopWorkers()
  const sessions = new Set(plan.tasks.map(({ session }) => session))
  const redis = await takeSnapshot(stage.redis, PREFIX, sessions, [CAPABILITY, PIT])
  return [{ journal: Journal.read(stage.journalPath), redis, readers: plan.readers, lifecycle }, trouble]
}

/** Begins each step at its time; the answer holds what is still under way. */
async function perform(steps: [number, () => unknown][]): Promise<unknown[]> {
  const began = performance.now()
  const underWay: unknown[] = []
  for (const [atMs, step] of steps.sort(([a], [b]) => a - b)) {
    const wait = atMs - (performance.now() - began)
    if (wait > 1) await sleep(wait)
    underWay.push(step())
  }
  return underWay
}

async function poison({ redis, journal }: Stage): Promise<void> {
  const mark = randomUUID()
  const entryId = await redis.xadd(new Keys(PREFIX).control(CAPABILITY), '*', 'data', `{ "no command": "${mark}"`)
  journal.note({ kind: 'poison', mark, entryId: entryId ?? '' })
}

/** Waits until each task has its end and nothing is left to run, or gives up: then the audit will say what is not. */
async function atRest(stage: Stage, plan: Plan): Promise<void> {
  const deadline = performance.now() + REST_MS
  const { redis, load } = stage
  const keys = new Keys(PREFIX)
  const lanes = [CAPABILITY, PIT].flatMap((each) =>
    (['high', 'normal', 'low'] as const).map((priority) => keys.control(each, priority)),
  )
  while (performance.now() < deadline) {
    await sleep(LOOK_EVERY_MS)
    const waiting = await Promise.all(lanes.map((lane) => redis.xlen(lane)))
    if (load.sending > 0 || waiting.some((length) => length > 0)) continue
    const fences = await Promise.all(plan.tasks.map((task) => redis.hget(keys.task(task.session, task.task), 'fence')))
    if (plan.tasks.every(({ task }, index) => !load.accepted.has(task) || ENDED.test(fences[index] ?? ''))) return
  }
}

async function readersAtEnd({ redis, load }: Stage, { readers }: Plan): Promise<void> {
  const deadline = performance.now() + READ_MS
  const keys = new Keys(PREFIX)
  const followers = readers.filter(({ task }) => task === undefined)
  while (performance.now() < deadline) {
    const ends = await Promise.all(
      followers.map(({ session }) => redis.xrevrange(keys.data(session), '+', '-', 'COUNT', 1)),
    )
    const behind = followers.filter(({ reader }, index) => (ends[index]?.[0]?.[0] ?? '0-0') !== load.position(reader))
    if (behind.length === 0 && load.tasksUnderRead() === 0) return
    await sleep(LOOK_EVERY_MS)
  }
}
