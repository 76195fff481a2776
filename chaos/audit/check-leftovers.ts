import type { Evidence, Finding } from '../evidence.ts'
import { naturalEnd } from '../work.ts'
import { endOf, type TaskCase } from './case.ts'

/** What is left in Redis: nothing to run, nothing pending, nothing that stays for ever; and the right dead letters. */
export function checkLeftovers(evidence: Evidence, cases: readonly TaskCase[]): Finding[] {
  return [
    ...checkControl(evidence),
    ...checkKeys(evidence),
    ...checkOrphans(cases),
    ...checkLetters(evidence, cases),
    ...checkPoison(evidence),
  ]
}

function checkControl({ redis }: Evidence): Finding[] {
  return redis.control.flatMap(({ stream, length, pending, owners }) => {
    const findings: Finding[] = []
    if (length > 0) findings.push({ check: 'leftover', ids: [stream], text: `still has ${length} entries` })
    if (pending > 0) {
      const text = `still has ${pending} pending entries, of ${owners.join(', ')}`
      findings.push({ check: 'leftover', ids: [stream, ...owners], text })
    }
    return findings
  })
}

/** What belongs to a session goes by its TTL; of the rest only streams and indexes that have an owner may stay. */
function checkKeys({ redis }: Evidence): Finding[] {
  return redis.keys
    .filter(({ ttlMs }) => ttlMs === -1)
    .map(({ key, type }) => ({ check: 'leftover', ids: [key], text: `a ${type} that stays for ever` }))
}

function checkOrphans(cases: readonly TaskCase[]): Finding[] {
  return cases
    .filter((each) => !each.accepted && each.record !== undefined && endOf(each) === undefined)
    .map(({ session, task, record }) => ({
      check: 'leftover',
      ids: [session, task],
      text: `was never accepted, but its record stays in state ${record?.state}`,
    }))
}

function checkLetters({ redis }: Evidence, cases: readonly TaskCase[]): Finding[] {
  const buried = new Map<string, number>()
  for (const { task } of redis.letters) buried.set(task, (buried.get(task) ?? 0) + 1)
  return cases.flatMap((each): Finding[] => {
    const { session, task, work } = each
    const end = endOf(each)
    const isBuried = buried.has(task)
    const must = naturalEnd(work) === 'FAILED'
    if (end === 'FAILED' && must && !isBuried) {
      return [
        { check: 'dead-letter', ids: [session, task], text: `a '${work.kind}' task FAILED without a dead letter` },
      ]
    }
    if (isBuried && (end === 'COMPLETED' || naturalEnd(work) === 'COMPLETED')) {
      return [{ check: 'dead-letter', ids: [session, task], text: `a '${work.kind}' task, ${end}, is a dead letter` }]
    }
    return []
  })
}

function checkPoison({ journal, redis }: Evidence): Finding[] {
  return journal.flatMap((entry): Finding[] => {
    if (entry.kind !== 'poison' || redis.letters.some(({ data }) => data.includes(entry.mark))) return []
    return [
      { check: 'dead-letter', ids: [entry.entryId], text: `poison '${entry.mark}' is not among the dead letters` },
    ]
  })
}
