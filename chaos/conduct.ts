import { randomUUID } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import { Keys } from '../src/redis/keys.ts'
import { isRefusedForNow } from '../src/redis/patience.ts'
import { sleep } from '../src/util/sleep.ts'
import type { Evidence } from './evidence.ts'
import { Journal } from './journal.ts'
import type { Plan } from './plan.ts'
import { allRead, awaitRest } from './rest.ts'
import { takeSnapshot } from './snapshot.ts'
import { PREFIX, type Stage } from './stage.ts'
import { Trouble } from './trouble.ts'
import { CAPABILITY, PIT } from './work.ts'

/** How long a run may take to come to rest after the last trouble. */
const REST_MS = 60_000
const READ_MS = 20_000
const POISON_AGAIN_MS = 100
/** So much of what is left is told at once; the audit tells the rest. */
const MOST_SAID = 20

/** Carries out a plan on a stage, waits until all is at rest, and gathers what there is to see. */
export async function conduct(plan: Plan, stage: Stage, say: (text: string) => void): Promise<[Evidence, Trouble]> {
  const trouble = new Trouble(stage)
  const { load, journal, redis } = stage
  const steps: [number, () => unknown][] = [
    ...plan.tasks.map((task): [number, () => unknown] => [task.atMs, () => load.send(task)]),
    ...plan.readers.map((reader): [number, () => unknown] => [reader.atMs, () => load.read(reader)]),
    ...plan.poisonsAtMs.map((atMs): [number, () => unknown] => [atMs, () => sendPoison(redis, PREFIX, journal)]),
    ...plan.faults.map((fault): [number, () => unknown] => [fault.atMs, () => trouble.make(fault)]),
  ]
  await Promise.all(await perform(steps))
  say('all trouble is made')
  stage.calm()
  journal.note({ kind: 'fault', fault: 'calm', target: 'all' })
  const scene = { redis, prefix: PREFIX, load }
  // What is not over in time is what the audit will find.
  const left = await awaitRest(scene, plan.tasks, REST_MS)
  if (left.length > 0) say(`not at rest: ${left.slice(0, MOST_SAID).join(', ')} (${left.length})`)
  load.giveUp()
  if (!(await allRead(scene, plan.readers, READ_MS))) say('readers are not at the end')
  await load.stop()
  await stage.stopWorkers()
  const sessions = new Set(plan.tasks.map(({ session }) => session))
  const snapshot = await takeSnapshot(redis, PREFIX, sessions, [CAPABILITY, PIT])
  return [{ journal: Journal.read(stage.journalPath), redis: snapshot, readers: plan.readers }, trouble]
}

/** Begins each step at its time; the answer holds what is still under way. */
async function perform(steps: [number, () => unknown][]): Promise<unknown[]> {
  const began = performance.now()
  const underWay: unknown[] = []
  for (const [atMs, step] of steps.sort(([a], [b]) => a - b)) {
    const wait = atMs - (performance.now() - began)
    if (wait > 1) await sleep(wait)
    const done = Promise.resolve(step())
    done.catch(() => undefined) // whoever awaits all of them hears of it
    underWay.push(done)
  }
  return underWay
}

/** Puts bytes that are no command on the control stream. */
export async function sendPoison(redis: Redis | Cluster, prefix: string, journal: Journal): Promise<void> {
  const mark = randomUUID()
  const add = () => redis.xadd(new Keys(prefix).control(CAPABILITY), '*', 'data', `{ "no command": "${mark}"`)
  let entryId: string | null | undefined
  while (entryId === undefined) {
    entryId = await add().catch(async (error) => {
      // Nothing was written then.
      if (!isRefusedForNow(error)) throw error
      await sleep(POISON_AGAIN_MS)
      return undefined
    })
  }
  journal.note({ kind: 'poison', mark, entryId: entryId ?? '' })
}
