import type { Finding, StoredEvent } from '../evidence.ts'
import { MAX_ATTEMPTS } from '../work.ts'
import { endOf, type TaskCase } from './case.ts'

/** Redis and the handlers read the same clock; its steps are smaller than this. */
const CLOCK_MS = 5

/**
 * A stale effect is an event or an end that Redis took from an attempt which was not the owner of its task at that
 * moment. An attempt owns its task from its `begin` to the next attempt's, or to the task's end. So it shows as
 *
 * - a chunk with a token lower than that of a chunk before it;
 * - a chunk that is younger than the start of a handler with a higher token;
 * - any event after the task's `done`;
 * - a start with a higher token than the one that ended the task;
 * - a COMPLETED end whose result is not that of the attempt that owned the task last.
 *
 * What a stale attempt does outside of Redis is not among these: there the token is the guard.
 */
export function checkFence(cases: readonly TaskCase[]): Finding[] {
  return cases.flatMap((each) => [
    ...checkTokens(each),
    ...checkChunks(each),
    ...checkLastWord(each),
    ...checkBudget(each),
  ])
}

function checkTokens({ task, session, starts, record, events }: TaskCase): Finding[] {
  const findings: Finding[] = []
  const seen = new Map<number, number>()
  for (const { token } of starts) seen.set(token, (seen.get(token) ?? 0) + 1)
  for (const [token, count] of seen) {
    if (count > 1) findings.push(finding('repeated', `token ${token} was given to ${count} handlers`))
  }
  for (const token of new Set(events.flatMap((event) => event.token ?? []))) {
    if (!seen.has(token))
      findings.push(finding('stale', `its session has chunks of token ${token}, which never started`))
  }
  const highest = Math.max(0, ...seen.keys())
  if (record !== undefined && record.epoch < highest) {
    findings.push(finding('stale', `a handler started with token ${highest} though the record is at ${record.epoch}`))
  }
  return findings

  function finding(check: Finding['check'], text: string): Finding {
    return { check, ids: [session, task], text }
  }
}

function checkChunks({ task, session, starts, events }: TaskCase): Finding[] {
  const stale = (event: StoredEvent, why: string): Finding => ({
    check: 'stale',
    ids: [session, task, event.id],
    text: `chunk ${event.n} of token ${event.token} was taken ${why}`,
  })
  const findings: Finding[] = []
  let highest = 0
  for (const event of events) {
    const { token, id } = event
    if (token === undefined) continue
    if (token < highest) findings.push(stale(event, `after a chunk of token ${highest}`))
    highest = Math.max(highest, token)
    const writtenAt = Number(id.split('-')[0])
    const newer = starts.find((start) => start.token > token && start.at + CLOCK_MS < writtenAt)
    if (newer) findings.push(stale(event, `${writtenAt - newer.at} ms after the start of token ${newer.token}`))
  }
  return findings
}

function checkLastWord(each: TaskCase): Finding[] {
  const { task, session, record, events, ends } = each
  const findings: Finding[] = []
  const done = events.findIndex(({ type }) => type === 'done')
  for (const event of done < 0 ? [] : events.slice(done + 1)) {
    if (event.type === 'done') continue // counted as a repeated end
    findings.push({
      check: 'stale',
      ids: [session, task, event.id],
      text: `a ${event.type} event follows its done event`,
    })
  }
  if (record === undefined || endOf(each) !== 'COMPLETED') return findings
  const { epoch, resultToken } = record
  if (resultToken !== epoch) {
    const text = `its result is that of token ${resultToken}, but token ${epoch} owned it at its end`
    findings.push({ check: 'stale', ids: [session, task], text })
  } else if (!ends.some(({ token, how }) => token === epoch && how === 'returned')) {
    findings.push({
      check: 'stale',
      ids: [session, task],
      text: `COMPLETED, but no handler of token ${epoch} returned`,
    })
  }
  return findings
}

/** Failures are counted, deaths of workers are not: no handler starts with an attempt beyond the budget. */
function checkBudget({ task, session, starts }: TaskCase): Finding[] {
  const most = Math.max(0, ...starts.map(({ attempt }) => attempt))
  if (most <= MAX_ATTEMPTS) return []
  return [{ check: 'repeated', ids: [session, task], text: `was tried ${most} times of at most ${MAX_ATTEMPTS}` }]
}
