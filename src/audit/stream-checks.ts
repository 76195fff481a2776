import { decodeCommand } from '../protocol/codec.ts'
import type { TaskRef } from '../protocol/ids.ts'
import type { LaneName } from '../redis/keys.ts'
import type { SurveyedEntry } from '../store/control-survey.ts'
import { isEnded, isUnbound } from '../store/fence.ts'
import type { TaskFacts } from '../store/task-facts.ts'
import type { Look } from './look.ts'

/** A control stream. */
export interface Lane {
  readonly key: string
  readonly capability: string
  readonly priority: LaneName
  readonly version?: string
}

/** Consumer that a restored entry is given to, until a worker takes it over. */
const RESTORER = 'byclaw-doctor'
const MOST_CONSUMERS = 10_000
const NOBODY: TaskRef = { sessionId: '', messageId: '' }

/** What waits on a stream while no worker is there. */
interface Tally {
  waiting: number
  oldestId: string
}

/** Entries of a control stream that nobody will process, or that nobody needs. */
export async function checkEntries(look: Look, lane: Lane): Promise<void> {
  const tally: Tally = { waiting: 0, oldestId: '' }
  for await (const { entries, ghosts } of look.tools.survey.walk(lane.key)) {
    await checkPage(look, lane, entries, tally)
    for (const { id, consumer, idleMs } of ghosts) {
      if (idleMs <= look.longSilenceMs) continue
      look.suspect(
        { kind: 'ghost-entry', ...place(lane, id, NOBODY), consumer, idleMs },
        [lane.key, id, consumer],
        () => look.tools.repairs.settle(lane.key, id),
      )
    }
    look.entries += entries.length
    if (look.entries >= look.scope.limit) {
      look.notes.add(
        `Only the first ${look.scope.limit} entries of control streams were looked at, so tasks that wait without an entry could not be found; raise the limit.`,
      )
      look.unbound.clear()
      look.retained.clear()
      break
    }
  }
  checkDemand(look, lane, tally)
}

/** Groups that should not be there, and consumers that are not any more. */
export async function checkGroups(look: Look, lane: Lane): Promise<void> {
  const { capability, priority, key } = lane
  for (const { name: group, pending, consumers } of await look.tools.survey.groups(key)) {
    if (group !== look.scope.group) {
      look.suspect({ kind: 'foreign-group', capability, priority, group, pending }, [key, group])
    } else if (consumers > MOST_CONSUMERS) {
      look.notes.add(`'${capability}' has ${consumers} consumers, too many to look at each.`)
    } else {
      await checkConsumers(look, lane)
    }
  }
}

async function checkConsumers(look: Look, { key, capability, priority }: Lane): Promise<void> {
  const { survey, repairs } = look.tools
  for (const { name: consumer, pending, idleMs } of await survey.consumers(key)) {
    if (pending > 0 || idleMs < look.scope.consumerIdleMs || look.workers.has(consumer)) continue
    look.suspect({ kind: 'idle-consumer', capability, priority, consumer, idleMs }, [key, consumer], () =>
      repairs.removeConsumer(key, consumer),
    )
  }
}

async function checkPage(look: Look, lane: Lane, entries: readonly SurveyedEntry[], tally: Tally): Promise<void> {
  const refs = entries.map(({ data }) => refOf(data))
  const named = refs.filter((ref) => ref !== NOBODY)
  const known = await look.tools.facts.read(named)
  const facts = new Map(named.map((ref, index) => [ref, known[index] ?? null]))
  entries.forEach((entry, index) => {
    const ref = refs[index] as TaskRef
    const task = facts.get(ref) ?? null
    const role = roleOf(entry, task)
    const key = look.tools.keys.task(ref.sessionId, ref.messageId)
    if (role === 'live') look.unbound.delete(key)
    if (entry.delivery !== null || !entry.isDelivered) look.retained.delete(key)
    if (entry.delivery !== null) checkPending(look, lane, { ...entry, delivery: entry.delivery }, ref, role, tally)
    else if (entry.isDelivered) checkAcked(look, lane, entry, ref, task, role)
    else count(tally, entry.id)
  })
}

function checkPending(
  look: Look,
  lane: Lane,
  { id, delivery }: { id: string; delivery: NonNullable<SurveyedEntry['delivery']> },
  ref: TaskRef,
  role: Role,
  tally: Tally,
): void {
  const { consumer, idleMs } = delivery
  if (idleMs <= look.longSilenceMs) return
  const detail = { ...place(lane, id, ref), consumer, idleMs }
  if (role === 'ended' || role === 'stale') {
    const settle = () => look.tools.repairs.settle(lane.key, id)
    look.suspect({ kind: 'needless-entry', ...detail, why: role }, [lane.key, id, role], settle)
  } else if (look.isOffered(lane)) {
    look.suspect({ kind: 'not-taken-over', ...detail }, [lane.key, id, consumer])
  } else {
    count(tally, id)
  }
}

function checkAcked(
  look: Look,
  lane: Lane,
  { id }: SurveyedEntry,
  ref: TaskRef,
  task: TaskFacts | null,
  role: Role,
): void {
  // A running task without its entry is the matter of its record.
  if (role === 'unclear' || (role === 'live' && task?.fence.state === 'R')) return
  const { repairs } = look.tools
  const detail = { kind: 'acked-entry' as const, ...place(lane, id, ref) }
  const evidence = [lane.key, id, role, task?.fence.text]
  if (role === 'live') {
    look.suspect({ ...detail, why: 'waits-for-it' }, evidence, () => repairs.restore(lane.key, id, RESTORER))
  } else if (role === 'unknown') {
    look.suspect({ ...detail, why: 'unknown-task' }, evidence)
  } else {
    look.suspect({ ...detail, why: role }, evidence, () => repairs.settle(lane.key, id))
  }
}

function checkDemand(look: Look, lane: Lane, { waiting, oldestId }: Tally): void {
  const { key, capability, priority, version } = lane
  if (waiting === 0 || look.isOffered(lane)) return
  const oldestMs = look.now - Number.parseInt(oldestId, 10)
  if (oldestMs <= look.longSilenceMs) return
  look.suspect({ kind: 'no-worker', capability, priority, version, waiting, oldestMs }, [key])
}

/**
 * What an entry is to its task: the one that runs or will run it, one whose task has its end, one that can never run it
 * any more, one of a task that is not known, or none of these for certain.
 */
type Role = 'live' | 'ended' | 'stale' | 'unknown' | 'unclear'

function roleOf({ id, turn }: SurveyedEntry, task: TaskFacts | null): Role {
  if (task === null) return 'unknown'
  const { fence } = task
  // The entry of a failure for good stays until its dead letter is written, which is a worker's work.
  if (isEnded(fence.text)) return fence.state === 'F' && fence.entryId === id ? 'unclear' : 'ended'
  if (fence.entryId === id) return 'live'
  // A first send has no turn, and fits only what was never begun; the epoch only grows.
  if (turn === '' ? fence.epoch > 0 : Number(turn) < fence.epoch) return 'stale'
  return isUnbound(fence.text) && (turn === '' ? fence.state === 'Q' : Number(turn) === fence.epoch)
    ? 'live'
    : 'unclear'
}

function refOf(data: string | undefined): TaskRef {
  const decoded = decodeCommand(data, Number.MAX_SAFE_INTEGER)
  const header = decoded.ok ? decoded.command.header : decoded.header
  if (header === undefined) return NOBODY
  return { sessionId: header.sessionId, messageId: header.messageId }
}

function place({ capability, priority }: Lane, entryId: string, { sessionId, messageId }: TaskRef) {
  return { capability, priority, entryId, sessionId, messageId }
}

function count(tally: Tally, id: string): void {
  tally.waiting += 1
  tally.oldestId ||= id
}
