import { compareEntryIds } from '../../src/redis/streams.ts'
import type { Evidence, Finding } from '../evidence.ts'
import type { ReaderPlan } from '../plan.ts'

interface Reading {
  readonly seen: { readonly id: string; readonly type: string }[]
  how: 'ended' | 'stopped' | undefined
}

/** Each reader saw every event of what it followed, once, in order, whatever it left and came back to. */
export function checkReaders(evidence: Evidence): Finding[] {
  const readings = new Map<string, Reading>()
  for (const { reader } of evidence.readers) readings.set(reader, { seen: [], how: undefined })
  for (const entry of evidence.journal) {
    if (entry.kind === 'seen') readings.get(entry.reader)?.seen.push(entry)
    if (entry.kind === 'read') (readings.get(entry.reader) as Reading).how = entry.how
  }
  return evidence.readers.flatMap((plan) => checkReader(plan, readings.get(plan.reader) as Reading, evidence))
}

function checkReader(plan: ReaderPlan, { seen, how }: Reading, { redis }: Evidence): Finding[] {
  const { reader, session, task } = plan
  const findings: Finding[] = []
  const about = (text: string, ...ids: string[]) => findings.push({ check: 'reader', ids: [reader, ...ids], text })
  for (const { id, type } of seen) if (type === 'gap') about('was told of a gap where nothing was trimmed', id)
  for (let i = 1; i < seen.length; i += 1) {
    const [before, now] = [seen[i - 1]?.id ?? '', seen[i]?.id ?? '']
    if (compareEntryIds(before, now) >= 0) about(`was given an event again or too late, after ${before}`, now)
  }
  const stored = (redis.sessions.get(session) ?? []).filter((event) => task === undefined || event.task === task)
  const got = new Set(seen.map(({ id }) => id))
  const missed = stored.filter(({ id }) => !got.has(id))
  const known = new Set(stored.map(({ id }) => id))
  const invented = seen.filter(({ id, type }) => type !== 'gap' && !known.has(id))
  if (missed.length > 0)
    about(`missed ${missed.length} of ${stored.length} events`, ...missed.map(({ id }) => id).slice(0, 5))
  if (invented.length > 0) about('saw events that are not in the session', ...invented.map(({ id }) => id).slice(0, 5))
  const isDone = task !== undefined && stored.some(({ type }) => type === 'done')
  if (isDone && how !== 'ended') about('did not end though its task is done')
  if (how === 'ended' && seen.at(-1)?.type !== 'done') about('ended without a done event')
  return findings
}
