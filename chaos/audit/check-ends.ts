import type { Finding } from '../evidence.ts'
import { naturalEnd } from '../work.ts'
import { endOf, type TaskCase } from './case.ts'
import { mayBeCancelledFromAbove } from './check-durable.ts'

/** One end each: what was accepted has one, nothing has two, and it is the one that was to be expected. */
export function checkEnds(cases: readonly TaskCase[]): Finding[] {
  const byTask = new Map(cases.map((each) => [each.task, each]))
  return cases.flatMap((each) => [...checkOneEnd(each), ...checkRightEnd(each, byTask), ...checkTold(each)])
}

function checkOneEnd(each: TaskCase): Finding[] {
  const { task, session, accepted, record, events } = each
  const findings: Finding[] = []
  const about = (check: Finding['check'], text: string) => findings.push({ check, ids: [session, task], text })
  const dones = events.filter(({ type }) => type === 'done')
  const end = endOf(each)
  if (accepted && end === undefined)
    about('lost', `was accepted and ${record ? `is still ${record.state}` : 'has no record'}`)
  if (accepted && dones.length === 0) about('lost', 'was accepted and its session has no done event for it')
  if (!accepted && end !== undefined && dones.length === 0) about('lost', `ended ${end} without a done event`)
  if (dones.length > 1) about('repeated', `has ${dones.length} done events: ${dones.map(({ id }) => id).join(' ')}`)
  const [done] = dones
  if (done !== undefined && end === undefined) about('wrong-end', `has a done event, but its record does not say so`)
  if (done !== undefined && end !== undefined && done.status !== end) {
    about('wrong-end', `is ${end} by its record and ${done.status} by its done event`)
  }
  return findings
}

function checkRightEnd(each: TaskCase, byTask: ReadonlyMap<string, TaskCase>): Finding[] {
  const end = endOf(each)
  if (end === undefined) return []
  const { task, session, work, mayExpire, cancels, cancelAnswers } = each
  const wrong = (text: string): Finding[] => [{ check: 'wrong-end', ids: [session, task], text }]
  const told = new Set(cancelAnswers.map(({ status }) => status))
  // A canceller who was answered by an error, or not at all, may have cancelled all the same.
  const isUnsure = told.has('ERROR') || cancelAnswers.length < cancels
  const mayBeCancelled = isUnsure || mayBeCancelledFromAbove(each, byTask)
  if (told.has('CANCELLED') || told.has('CANCEL_REQUESTED')) {
    return end === 'CANCELLED' ? [] : wrong(`ended ${end} though a canceller was told ${[...told].join(', ')}`)
  }
  if (end === 'CANCELLED') return mayBeCancelled ? [] : wrong('ended CANCELLED, which nobody was told')
  if (end === 'EXPIRED') return mayExpire ? [] : wrong('EXPIRED though it had no time limit')
  const natural = naturalEnd(work)
  if (end === natural) return []
  return wrong(`ended ${end} ${each.record?.errorCode}, but a '${work.kind}' task ends ${natural}`)
}

/** Who waited for the result was told the same as the record says. */
function checkTold(each: TaskCase): Finding[] {
  const end = endOf(each)
  return each.results
    .filter(({ status }) => status !== end)
    .map(({ status }) => ({
      check: 'wrong-end',
      ids: [each.session, each.task],
      text: `somebody was told ${status}, but it ended ${end}`,
    }))
}
