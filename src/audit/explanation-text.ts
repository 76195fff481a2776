import { type LaneName, workerOfLane } from '../redis/keys.ts'
import { span } from '../util/span.ts'
import type { DeadLetterSign, ExplanationDetail, WorkerSign } from './explanation.ts'
import { laneText } from './lane-text.ts'

type Of<State extends ExplanationDetail['state']> = ExplanationDetail & { readonly state: State }

/** Where a task is and what it waits for, in full sentences. */
export function sentences(detail: ExplanationDetail): string {
  switch (detail.state) {
    case 'unknown':
      return unknown(detail)
    case 'queued':
      return queued(detail)
    case 'taken':
      return taken(detail)
    case 'held-back':
      return heldBack(detail)
    case 'suspended':
      return 'It is suspended: it waits for an answer, of an agent, a person or a timer, and no worker holds it until that comes.'
    case 'stranded':
      return stranded(detail)
    case 'running':
      return running(detail)
    case 'ended':
      return ended(detail)
    default:
      return `Its record says '${detail.fence}', which this version does not understand: look with the version that wrote it.`
  }
}

function unknown({ deadLetter }: Of<'unknown'>): string {
  const text =
    'Nothing is known of this task: it was never accepted, or it ended so long ago that its record has expired, or the ids are not quite right.'
  return deadLetter === null ? text : `${text} ${buried(deadLetter)}`
}

function queued(detail: Of<'queued'>): string {
  const { agentType, priority, position, workers, freeSlots, error, status, version } = detail
  const place = `at position ${position} on ${laneText(agentType, priority)}, behind ${count(position - 1, 'other')}`
  if (version !== undefined) return queuedByVersion(detail, version)
  const served =
    workers === 0
      ? nobodyServes(agentType, priority)
      : `${count(workers, 'live worker')} ${workers === 1 ? 'offers' : 'offer'} '${agentType}', with ${count(freeSlots, 'free slot')}.`
  const again =
    status === 'RETRYING' ? ` It is attempt ${detail.attempt}${error === null ? '' : `, after: ${error.message}`}.` : ''
  return `It is queued ${place}. ${served}${again}`
}

function queuedByVersion({ agentType, workers, freeSlots }: Of<'queued'>, version: string): string {
  const why = `It is queued for workers of version '${version}': that version ran it last, and only where it runs, or is declared compatible, does it go on.`
  if (workers > 0) return `${why} ${count(workers, 'live worker')} would do, with ${count(freeSlots, 'free slot')}.`
  return `${why} No live worker of '${agentType}' would do: start one with that version, or with it among its compatible versions; or cancel the task.`
}

function nobodyServes(agentType: string, lane: LaneName): string {
  const workerId = workerOfLane(lane)
  return workerId === undefined
    ? `No live worker offers '${agentType}': it waits for one to start.`
    : `Worker '${workerId}' is not there, or does not offer '${agentType}': it waits for that very worker.`
}

function taken({ worker, idleMs, takeoverInMs, workers, agentType, priority }: Of<'taken'>): string {
  const who = `Worker ${named(worker)} was given it and has not begun it`
  if (takeoverInMs === null) return `${who} yet; the worker's last sign for it was ${span(idleMs)} ago.`
  return `${who}; nothing was heard for ${span(idleMs)}. ${takeover(takeoverInMs, workers, nobodyServes(agentType, priority))}`
}

function heldBack({ status, version, dueInMs, dueAt, attempt, error }: Of<'held-back'>): string {
  if (version !== undefined) {
    return `It is for one worker only, and version '${version}' ran it last: it waits until that worker runs that version, or one that declares it compatible; or cancel the task.`
  }
  const due =
    dueInMs === null || dueAt === null
      ? 'until its time has come'
      : dueInMs > 0
        ? `for another ${span(dueInMs)}, until ${iso(dueAt)}`
        : `until ${iso(dueAt)}, which is over: a live worker puts it on its stream at any moment`
  if (status === 'DELAYED') return `It is held back ${due}, as its sender asked.`
  const cause = error === null ? '' : ` because the last attempt failed: ${error.message} (${error.code})`
  return `It waits for attempt ${attempt}, ${due}${cause}.`
}

function stranded({ status, isGuess }: Of<'stranded'>): string {
  if (isGuess) return `It is ${status}, and its entry was not found in the part of the streams that was searched.`
  return `It is ${status}, but nothing will ever move it: its entry is gone. \`byclaw doctor\` says more, and \`byclaw doctor --fix\` repairs or ends it.`
}

function running(detail: Of<'running'>): string {
  const { worker, runningMs, attempt, takeoverInMs, workers, idleMs, cancel } = detail
  const since = runningMs === null ? '' : ` for ${span(runningMs)}`
  const asked =
    cancel === null
      ? ''
      : ` Its cancel was requested${cancel.requestedBy === '' ? '' : ` by ${cancel.requestedBy}`}${cancel.reason === '' ? '' : ` (${cancel.reason})`}: it will end CANCELLED.`
  if (takeoverInMs !== null) {
    const gone = worker.host === null ? 'is gone' : 'is silent'
    return `Attempt ${attempt} began on worker ${named(worker)}, which ${gone}: its lease was renewed ${span(idleMs)} ago. ${takeover(takeoverInMs, workers, nobodyServes(detail.agentType, detail.priority))}${asked}`
  }
  return `It runs on worker ${named(worker)}${since}, attempt ${attempt}. Its lease was renewed ${span(idleMs)} ago${worker.leaseMs === null ? '' : ` and lasts ${span(worker.leaseMs)}`}.${asked}`
}

function ended(detail: Of<'ended'>): string {
  const { status, finishedAt, attempt, error, keptMs, deadLetter } = detail
  const when = finishedAt === null ? '' : ` at ${iso(finishedAt)}`
  const why = error === null ? '' : `: ${error.message} (${error.code})`
  const kept = keptMs === null ? 'at least until a worker has seen its entry off' : `for another ${span(keptMs)}`
  const text = `It ended ${status}${when}, in attempt ${attempt}${why}. Its result is kept ${kept}.`
  return deadLetter === null ? text : `${text} ${buried(deadLetter)}`
}

/** @param nobody - What is said if no worker is there for it. */
function takeover(inMs: number, workers: number, nobody: string): string {
  if (workers === 0) return `${nobody.slice(0, -1)}, which then takes it over.`
  if (inMs > 0) return `Another worker takes it over in about ${span(inMs)}.`
  return 'A worker takes it over as soon as it has a free slot.'
}

function buried({ capability, id, reason, detail }: DeadLetterSign): string {
  return `It lies in the dead letters of '${capability}' as ${id}: ${reason}${detail === '' ? '' : `, ${detail}`}. \`byclaw dead redrive ${id}\` sends it again.`
}

function named({ workerId, host, pid, seenMsAgo }: WorkerSign): string {
  if (host === null) return workerId
  return `${workerId} (${host}:${pid}, seen ${span(seenMsAgo ?? 0)} ago)`
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}

function iso(unixMs: number): string {
  return new Date(unixMs).toISOString()
}
