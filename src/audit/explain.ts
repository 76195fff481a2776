import type { TaskRef } from '../protocol/ids.ts'
import type { TerminalStatus } from '../protocol/status.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import type { Delivery } from '../store/control-survey.ts'
import { DeadLetters } from '../store/dead-letters.ts'
import { DEFAULT_LEASE_MS } from '../store/defaults.ts'
import { isEnded, isUnbound } from '../store/fence.ts'
import type { FleetWorker } from '../store/fleet.ts'
import { lanesOfTask, type TaskFacts } from '../store/task-facts.ts'
import { sleep } from '../util/sleep.ts'
import { findEntry, type Seat } from './entry-search.ts'
import type { DeadLetterSign, Explanation, ExplanationDetail, WorkerSign } from './explanation.ts'
import { sentences } from './explanation-text.ts'
import { type AuditTools, auditTools, type OfferedLane, servesLane } from './look.ts'

/** A task that looks stranded is looked at so often, with so much time in between. */
const LOOKS = 3
const LOOK_AGAIN_MS = 100
const ENDS: Readonly<Record<string, TerminalStatus>> = {
  ...{ C: 'COMPLETED', F: 'FAILED', X: 'CANCELLED', E: 'EXPIRED' },
}
const WAITING = { Q: 'QUEUED', D: 'DELAYED', T: 'RETRYING' } as const

/** What is known when a task is explained. */
interface Scene {
  readonly tools: AuditTools
  readonly ref: TaskRef
  readonly now: number
  readonly workers: ReadonlyMap<string, FleetWorker>
}

/** Tells where one task is and what it waits for; looks only, and changes nothing. */
export class Explainer {
  readonly #tools: AuditTools
  readonly #deadLetters: DeadLetters

  constructor(redis: RedisClient, keys: Keys, group: string) {
    this.#tools = auditTools(redis, keys, group)
    this.#deadLetters = new DeadLetters(redis, keys)
  }

  /** Explains a task as it is now; it may have moved on when this is read. */
  async explain({ sessionId, messageId }: TaskRef): Promise<Explanation> {
    const ref = { sessionId, messageId }
    let detail = await this.#detail(ref)
    // What looks stranded may only have moved on between two commands; then its next state says where it is.
    for (let look = 1; look < LOOKS && detail.state === 'stranded'; look += 1) {
      await sleep(LOOK_AGAIN_MS)
      detail = await this.#detail(ref)
    }
    return { ...detail, text: sentences(detail) }
  }

  async #detail(ref: TaskRef): Promise<ExplanationDetail> {
    const tools = this.#tools
    const [now, workers, [task = null]] = await Promise.all([
      tools.space.now(),
      tools.fleet.live(),
      tools.facts.read([ref]),
    ])
    if (task === null) return { ...ref, state: 'unknown', deadLetter: await this.#deadLetter(ref) }
    const { fence, agentType } = task
    const scene: Scene = { tools, ref, now, workers }
    if (isEnded(fence.text)) return this.#ended(ref, task)
    if (fence.state === 'R') return running(scene, task)
    if (fence.state === 'W') return { ...ref, state: 'suspended', agentType, attempt: task.attempt }
    if (isUnbound(fence.text)) return waiting(scene, task)
    return { ...ref, state: 'other', agentType, fence: fence.text }
  }

  async #ended(ref: TaskRef, task: TaskFacts): Promise<ExplanationDetail> {
    const status = ENDS[task.fence.state] as TerminalStatus
    return {
      ...{ ...ref, state: 'ended', agentType: task.agentType, status, attempt: task.attempt },
      ...{ finishedAt: task.finishedAt, error: task.error, keptMs: task.ttlMs },
      deadLetter: status === 'FAILED' ? await this.#deadLetter(ref, task.agentType) : null,
    }
  }

  /** A task's newest dead letter; without a record its capability is not known. */
  async #deadLetter({ sessionId, messageId }: TaskRef, capability?: string): Promise<DeadLetterSign | null> {
    const [letter] = await this.#deadLetters.list({ capability, sessionId, messageId }, 1)
    if (letter === undefined) return null
    const { id, reason, detail } = letter
    return { capability: letter.capability, id, reason, detail }
  }
}

async function running(scene: Scene, task: TaskFacts): Promise<ExplanationDetail> {
  const { now, ref, tools } = scene
  const { agentType, fence, startedAt, cancel } = task
  const delivery = await deliveryOf(tools, task)
  if (delivery === null) return { ...ref, state: 'stranded', agentType, status: 'RUNNING', isGuess: false }
  const worker = workerSign(scene, fence.owner)
  const priority = task.lane ?? 'normal'
  return {
    ...{ ...ref, state: 'running', agentType, worker, startedAt, attempt: task.attempt, epoch: fence.epoch },
    ...{ runningMs: startedAt === null ? null : now - startedAt, idleMs: delivery.idleMs, cancel },
    ...{ takeoverInMs: takeoverIn(worker, delivery), priority },
    workers: offering(scene, { capability: agentType, priority }).length,
  }
}

async function waiting(scene: Scene, task: TaskFacts): Promise<ExplanationDetail> {
  const { ref, tools, now } = scene
  const { agentType, fence, dueAt, error } = task
  const status = WAITING[fence.state as keyof typeof WAITING]
  // In this order: what is due goes from the agenda to a stream.
  const isHeld = await isHeldBack(tools, task)
  const { seat, isCutOff } = await findEntry(tools.survey, lanesOfTask(tools.keys, task), task)
  if (seat !== null) return seated(scene, task, seat)
  // A queued task goes to the agenda only if its one worker runs a version that does not go on with it.
  const version = status === 'QUEUED' && task.lane !== null ? (task.laneVersion ?? undefined) : undefined
  if (isHeld && (status !== 'QUEUED' || version !== undefined)) {
    const dueInMs = dueAt === null ? null : dueAt - now
    return { ...ref, state: 'held-back', agentType, status, version, dueAt, dueInMs, attempt: task.attempt + 1, error }
  }
  return { ...ref, state: 'stranded', agentType, status, isGuess: isCutOff }
}

/** An attempt that failed goes from its entry to the agenda, so until then its entry holds it. */
async function isHeldBack(tools: AuditTools, task: TaskFacts): Promise<boolean> {
  const { sessionId, messageId, fence } = task
  if (fence.entryId !== '' && (await deliveryOf(tools, task)) !== null) return true
  return (await tools.agenda.holds([{ sessionId, messageId, turn: String(fence.epoch) }])).includes(true)
}

function seated(scene: Scene, task: TaskFacts, seat: Seat): ExplanationDetail {
  const { ref } = scene
  const { agentType, fence, error } = task
  const { priority, entryId, delivery, version } = seat
  const live = offering(scene, { capability: agentType, priority, version })
  if (delivery !== null) {
    const worker = workerSign(scene, delivery.consumer)
    return {
      ...{ ...ref, state: 'taken', agentType, priority, entryId, worker, idleMs: delivery.idleMs },
      ...{ takeoverInMs: takeoverIn(worker, delivery), workers: live.length },
    }
  }
  const freeSlots = live.reduce((sum, one) => sum + Math.max(0, one.maxConcurrency - one.running), 0)
  return {
    ...{ ...ref, state: 'queued', agentType, status: WAITING[fence.state as keyof typeof WAITING], priority, entryId },
    ...{ version, position: seat.position, workers: live.length, freeSlots, attempt: task.attempt + 1, error },
  }
}

async function deliveryOf({ survey, keys }: AuditTools, task: TaskFacts): Promise<Delivery | null> {
  const all = await Promise.all(lanesOfTask(keys, task).map(({ key }) => survey.delivery(key, task.fence.entryId)))
  return all.find((delivery) => delivery !== null) ?? null
}

/** Null as long as the lease holds and its worker lives. */
function takeoverIn({ host, leaseMs }: WorkerSign, { idleMs }: Delivery): number | null {
  const lease = leaseMs ?? DEFAULT_LEASE_MS
  return host !== null && idleMs <= lease ? null : Math.max(0, lease - idleMs)
}

function workerSign({ workers, now }: Scene, workerId: string): WorkerSign {
  const worker = workers.get(workerId)
  if (worker === undefined) return { workerId, host: null, pid: null, leaseMs: null, seenMsAgo: null }
  const { host, pid, leaseMs, lastSeenAt } = worker
  return { workerId, host, pid, leaseMs, seenMsAgo: Math.max(0, now - lastSeenAt) }
}

function offering({ workers }: Scene, lane: OfferedLane): FleetWorker[] {
  return [...workers].filter(([workerId, worker]) => servesLane(workerId, worker, lane)).map(([, worker]) => worker)
}
