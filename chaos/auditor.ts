import { endOf, openCases, type TaskCase } from './audit/case.ts'
import { checkDurable } from './audit/check-durable.ts'
import { checkEnds } from './audit/check-ends.ts'
import { checkFence } from './audit/check-fence.ts'
import { checkLeftovers } from './audit/check-leftovers.ts'
import { checkOutput } from './audit/check-output.ts'
import { checkReaders } from './audit/check-readers.ts'
import type { Evidence, Finding } from './evidence.ts'
import type { Entry } from './journal.ts'

/** Holds what everybody saw and did against each other and against what Redis holds; an empty list is what is wanted. */
export function audit(evidence: Evidence): Finding[] {
  const cases = openCases(evidence)
  return [
    ...checkEnds(cases),
    ...checkFence(cases),
    ...checkOutput(cases),
    ...checkDurable(cases, evidence),
    ...checkReaders(evidence),
    ...checkLeftovers(evidence, cases),
  ]
}

/** How much happened in a run. */
export type Tally = Readonly<Record<string, number>>

export function tally(evidence: Evidence): Tally {
  const { journal, redis } = evidence
  const cases = openCases(evidence)
  const count = (test: (each: TaskCase) => boolean) => cases.filter(test).length
  const kinds = (kind: Entry['kind']) => journal.filter((entry) => entry.kind === kind).length
  return {
    tasks: cases.length,
    accepted: count(({ accepted }) => accepted),
    completed: count((each) => endOf(each) === 'COMPLETED'),
    failed: count((each) => endOf(each) === 'FAILED'),
    cancelled: count((each) => endOf(each) === 'CANCELLED'),
    expired: count((each) => endOf(each) === 'EXPIRED'),
    'tasks that others called': kinds('called') === 0 ? 0 : count(({ caller }) => caller !== undefined),
    sessions: new Set(cases.map(({ session }) => session)).size,
    chunks: [...redis.sessions.values()].flat().filter(({ type }) => type === 'chunk').length,
    starts: kinds('start'),
    'tasks begun twice or more': count(({ starts }) => starts.length > 1),
    'effects a token refused': staleEffects(journal),
    events: [...redis.sessions.values()].reduce((sum, events) => sum + events.length, 0),
    rewinds: [...redis.sessions.values()].flat().filter(({ type }) => type === 'rewind').length,
    'questions answered': kinds('replied'),
    'events read': kinds('seen'),
    'dead letters': redis.letters.length,
  }
}

/** Effects outside that came from an attempt after its successor had begun: a guard that looks at tokens refuses them. */
function staleEffects(journal: readonly Entry[]): number {
  const highest = new Map<string, number>()
  let refused = 0
  for (const entry of journal) {
    if (entry.kind !== 'start' && entry.kind !== 'effect') continue
    const known = highest.get(entry.task) ?? 0
    if (entry.token > known) highest.set(entry.task, entry.token)
    else if (entry.kind === 'effect' && entry.token < known) refused += 1
  }
  return refused
}
