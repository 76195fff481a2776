import { isEnded, isUnbound } from '../store/fence.ts'
import type { FoundKey } from '../store/key-space.ts'
import { lanesOfTask, type TaskFacts } from '../store/task-facts.ts'
import { findEntry } from './entry-search.ts'
import type { Look } from './look.ts'

/** So many tasks are looked for on the agenda at once. */
const AGENDA_PAGE = 500
/** On a Cluster the clocks of servers may differ by so much. */
const CLOCK_LEEWAY_MS = 10_000
const WAITING = { Q: 'QUEUED', D: 'DELAYED', T: 'RETRYING' } as const

/** Records whose lives have stopped: ended ones that would stay for ever, running ones that nobody holds. */
export async function checkRecords(look: Look, found: readonly FoundKey[]): Promise<void> {
  const records = found.flatMap((key) => (key.family === 'task' ? [key] : []))
  look.records += records.length
  // An ended record has a time to live, as it should; most are of that kind and need not be read.
  const refs = await look.tools.space.lasting(records)
  const facts = await look.tools.facts.read(refs)
  const running: TaskFacts[] = []
  facts.forEach((task, index) => {
    const { key } = refs[index] as (typeof refs)[number]
    if (task === null || (look.scope.capability ?? task.agentType) !== task.agentType) return
    if (isEnded(task.fence.text)) checkKept(look, task, key)
    else if (task.fence.state === 'R') running.push(task)
    // A suspended task has no entry and needs none: the answer that it waits for brings one.
    else if (task.fence.state !== 'W' && isUnbound(task.fence.text)) look.unbound.set(key, task)
  })
  await Promise.all(running.map((task) => checkRunning(look, task)))
}

/**
 * Tasks that wait, or have ended and wait for their entry to be seen off, and of which neither the agenda nor an entry knows. Comes in two parts, since what is due goes from
 * the agenda to a stream: first {@link strikeHeldBack}, then the streams, which strike out what they hold, then this.
 */
export function checkWaiting(look: Look): void {
  for (const [key, task] of look.retained) suspectKept(look, task, key)
  for (const task of look.unbound.values()) {
    const { sessionId, messageId, agentType, fence } = task
    const status = WAITING[fence.state as keyof typeof WAITING]
    look.suspect(
      { kind: 'waiting-without-entry', sessionId, messageId, agentType, status },
      [sessionId, messageId, fence.text],
      () => endWaiting(look, task),
    )
  }
}

/** Its sender may have sent it again since, which its record does not say until it begins. */
async function endWaiting(look: Look, task: TaskFacts): Promise<boolean> {
  const { tools, abandonment, now } = look
  const { sessionId, messageId, fence } = task
  // In this order: what is due goes from the agenda to a stream.
  const [isHeld] = await tools.agenda.holds([{ sessionId, messageId, turn: String(fence.epoch) }])
  const lanes = lanesOfTask(tools.keys, task)
  const { seat, isCutOff } = await findEntry(tools.survey, lanes, task, Math.max(now - CLOCK_LEEWAY_MS, 0))
  if (isHeld === true || seat !== null || isCutOff) return false
  return abandonment.end(task, 'no entry on its control stream will ever start it')
}

/** Strikes out what the agenda holds. */
export async function strikeHeldBack(look: Look): Promise<void> {
  const tasks = [...look.unbound, ...look.retained]
  for (let from = 0; from < tasks.length; from += AGENDA_PAGE) {
    const part = tasks.slice(from, from + AGENDA_PAGE)
    const isPending = await Promise.all(part.map(([, task]) => isStillPending(look, task)))
    // After the entry, since an attempt that failed goes from there to the agenda.
    const isHeld = await look.tools.agenda.holds(
      part.map(([, { sessionId, messageId, fence }]) => ({ sessionId, messageId, turn: String(fence.epoch) })),
    )
    part.forEach(([key], index) => {
      if (isHeld[index] !== true && isPending[index] !== true) return
      look.unbound.delete(key)
      look.retained.delete(key)
    })
  }
}

/** An attempt that failed is put on the agenda before its entry is acked: until then the entry holds the task. */
async function isStillPending(look: Look, task: TaskFacts): Promise<boolean> {
  return task.fence.entryId !== '' && (await deliveries(look, task)).some(({ delivery }) => delivery !== null)
}

function checkKept(look: Look, task: TaskFacts, key: string): void {
  if (task.ttlMs !== null) return
  if (task.keepMs === null) suspectKept(look, task, key)
  else look.retained.set(key, task)
}

function suspectKept(look: Look, task: TaskFacts, key: string): void {
  const ttlMs = task.keepMs ?? look.abandonment.retention.resultTtlMs
  look.suspect({ kind: 'key-without-ttl', key, holds: 'record' }, [key], () =>
    look.tools.space.expireEnded(task, task.fence.text, key, ttlMs),
  )
}

async function checkRunning(look: Look, task: TaskFacts): Promise<void> {
  const { sessionId, messageId, agentType, fence } = task
  const places = await deliveries(look, task)
  if (places.some(({ delivery }) => delivery !== null)) return
  const lying = await lyingEntry(look, task, places)
  if (lying === 'unread') return
  const isOwnerAlive = look.workers.has(fence.owner)
  const detail = {
    ...{ kind: 'running-without-entry' as const, sessionId, messageId, agentType },
    ...{ workerId: fence.owner, entryId: fence.entryId, isOwnerAlive },
  }
  const evidence = [sessionId, messageId, fence.text]
  if (lying !== null) {
    const restore = () => look.tools.repairs.restore(lying, fence.entryId, fence.owner)
    look.suspect({ ...detail, entry: 'acked' }, evidence, restore)
  } else {
    const end = () => look.abandonment.end(task, 'its entry is gone and so is its worker')
    look.suspect({ ...detail, entry: 'gone' }, evidence, isOwnerAlive ? undefined : end)
  }
}

/** The control streams that may hold a task's entry, and how the entry is pending there. */
async function deliveries({ tools }: Look, task: TaskFacts) {
  return Promise.all(
    lanesOfTask(tools.keys, task).map(async ({ key }) => {
      return { key, delivery: await tools.survey.delivery(key, task.fence.entryId) }
    }),
  )
}

/** The stream on which a task's entry lies though it is not pending; `unread` if the group is yet to be given it. */
async function lyingEntry({ tools }: Look, { fence }: TaskFacts, places: readonly { key: string }[]) {
  for (const { key } of places) {
    if (!(await tools.survey.exists(key, fence.entryId))) continue
    return (await tools.survey.isBeyond(key, fence.entryId)) ? 'unread' : key
  }
  return null
}
