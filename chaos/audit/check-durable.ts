import { calledBy, faultOf, type Marks } from '../durable/program.ts'
import type { Evidence, Finding, Snapshot } from '../evidence.ts'
import type { Entry } from '../journal.ts'
import { type DurableWork, MAX_ATTEMPTS } from '../work.ts'
import { endOf, type TaskCase } from './case.ts'
import { standing } from './check-output.ts'

type DurableCase = TaskCase & { readonly work: DurableWork }

/** What holds of tasks that call, ask, step and sleep: their words are exact, and each call has one task. */
export function checkDurable(cases: readonly TaskCase[], { journal, redis }: Evidence): Finding[] {
  const durable = cases.filter((each): each is DurableCase => each.work.kind === 'durable')
  const children = childrenByParent(redis)
  const called = calledByParent(durable)
  const findings = durable.flatMap((each) => [
    ...checkWords(each),
    ...checkSpoken(each),
    ...checkCalls(each, children.get(each.task) ?? 0),
    ...checkPaths(each, called.get(each.task) ?? []),
  ])
  return [...findings, ...checkReplies(journal)]
}

function childrenByParent({ tasks }: Snapshot): Map<string, number> {
  const children = new Map<string, number>()
  for (const { parent } of tasks.values()) if (parent !== '') children.set(parent, (children.get(parent) ?? 0) + 1)
  return children
}

/** Those that began, by who called them. */
function calledByParent(cases: readonly DurableCase[]): Map<string, DurableCase[]> {
  const called = new Map<string, DurableCase[]>()
  for (const each of cases) {
    const { parent } = each.caller ?? {}
    if (parent === undefined) continue
    const own = called.get(parent)
    if (own === undefined) called.set(parent, [each])
    else own.push(each)
  }
  return called
}

/** The words that stand at the end are those of one complete run, and fit its result; else they are where one began. */
function checkWords(each: DurableCase): Finding[] {
  const { task, session, work, events, record } = each
  const end = endOf(each)
  if (end === undefined) return []
  const chunks = standing(events).map(({ content }) => content)
  const isWhole = end === 'COMPLETED'
  const marks: Marks | undefined = isWhole ? (record?.marks ?? {}) : undefined
  const fault = faultOf(task, work, chunks, isWhole, marks)
  return fault === null ? [] : [{ check: 'output', ids: [session, task], text: `ended ${end} and ${fault}` }]
}

/** What was acknowledged to a handler is in the session, whatever became of it there. */
function checkSpoken({ task, session, spoken, events }: DurableCase): Finding[] {
  const written = new Set(events.map(({ content }) => content))
  const lost = spoken.filter(({ text }) => !written.has(text))
  return lost.map(({ text, token }) => ({
    check: 'output',
    ids: [session, task],
    text: `'${text}' was acknowledged to token ${token} and is not in the session`,
  }))
}

/** Each call has one task; only what failed may be called again, by the next attempt. */
function checkCalls(each: DurableCase, children: number): Finding[] {
  const { task, session, work } = each
  const calls = calledBy(work).length
  const trips = work.acts.some((act) => act.do === 'trip')
  const most = trips ? calls * MAX_ATTEMPTS : calls
  const ids = [session, task]
  if (children > most)
    return [{ check: 'repeated', ids, text: `made ${calls} calls, but ${children} tasks are its children` }]
  if (endOf(each) === 'COMPLETED' && children < calls) {
    return [{ check: 'lost', ids, text: `made ${calls} calls, but only ${children} tasks are its children` }]
  }
  return []
}

/** No two tasks come from the same place of the same attempt's program, where nothing was tried again. */
function checkPaths({ task, session, work }: DurableCase, called: readonly DurableCase[]): Finding[] {
  if (work.acts.some((act) => act.do === 'trip')) return []
  const seen = new Map<string, string>()
  return called.flatMap(({ task: child, caller: { path = '' } = {} }): Finding[] => {
    const other = seen.get(path)
    seen.set(path, child)
    if (other === undefined) return []
    return [{ check: 'repeated', ids: [session, task, other, child], text: `call ${path} has two tasks` }]
  })
}

/** A question takes one answer, and one that is pending is found. */
function checkReplies(journal: readonly Entry[]): Finding[] {
  const accepted = new Map<string, number>()
  const findings: Finding[] = []
  for (const entry of journal) {
    if (entry.kind !== 'replied') continue
    if (entry.status === 'ACCEPTED') accepted.set(entry.ask, (accepted.get(entry.ask) ?? 0) + 1)
    if (entry.status === 'ODD')
      findings.push({ check: 'wrong-end', ids: [entry.ask], text: 'a right answer was refused' })
  }
  for (const [ask, count] of accepted) {
    if (count > 1) findings.push({ check: 'repeated', ids: [ask], text: `took ${count} answers` })
  }
  return findings
}

/** True if a called task may have been cancelled by what its caller does, or by who cancelled the caller. */
export function mayBeCancelledFromAbove(each: TaskCase, byTask: ReadonlyMap<string, TaskCase>): boolean {
  const above = each.caller === undefined ? undefined : byTask.get(each.caller.parent)
  if (above === undefined || above.work.kind !== 'durable') return false
  const act = above.work.acts[Number.parseInt(each.caller?.path ?? '', 10)]
  const isAtRisk = (act?.do === 'call' && act.timeoutMs !== undefined) || (act?.do === 'group' && act.failFast)
  return (
    isAtRisk || endOf(above) === 'CANCELLED' || endOf(above) === 'EXPIRED' || mayBeCancelledFromAbove(above, byTask)
  )
}
