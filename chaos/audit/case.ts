import type { Evidence, StoredEvent, StoredTask } from '../evidence.ts'
import type { Entry } from '../journal.ts'
import type { Work } from '../work.ts'

type EntryOf<Kind extends Entry['kind']> = Extract<Entry, { kind: Kind }>

/** All that is known of one task: what was said about it, what its attempts did, and what Redis holds. */
export interface TaskCase {
  readonly task: string
  readonly session: string
  readonly work: Work
  readonly mayExpire: boolean
  /** Who called it, and from where, if it was not sent. */
  readonly caller: { readonly parent: string; readonly path: string } | undefined
  /** A sender was told `QUEUED`, or its handler began. */
  readonly accepted: boolean
  readonly cancels: number
  readonly cancelAnswers: readonly EntryOf<'cancelled'>[]
  readonly results: readonly EntryOf<'result'>[]
  readonly starts: readonly EntryOf<'start'>[]
  readonly said: readonly EntryOf<'said'>[]
  readonly spoken: readonly EntryOf<'spoken'>[]
  readonly ends: readonly EntryOf<'end'>[]
  readonly record: StoredTask | undefined
  /** The task's events, in the order of the session's stream. */
  readonly events: readonly StoredEvent[]
}

export const STATUS_OF: Readonly<Record<string, string>> = {
  C: 'COMPLETED',
  F: 'FAILED',
  X: 'CANCELLED',
  E: 'EXPIRED',
}

/** The end of a task by its record, or undefined. */
export function endOf({ record }: TaskCase): string | undefined {
  return record === undefined ? undefined : STATUS_OF[record.state]
}

/** Every task that somebody tried to send, and every one that another task called and that has begun. */
export function openCases({ journal, redis }: Evidence): TaskCase[] {
  const byTask = new Map<string, Entry[]>()
  for (const entry of journal) {
    if (!('task' in entry)) continue
    const own = byTask.get(entry.task)
    if (own === undefined) byTask.set(entry.task, [entry])
    else own.push(entry)
  }
  const events = eventsByTask(redis.sessions)
  return [...byTask].flatMap(([task, entries]) => {
    const [called] = ofKind(entries, 'called')
    const first = ofKind(entries, 'send')[0] ?? called
    if (first === undefined) return []
    const { session, work } = first
    return {
      ...{ task, session, work },
      mayExpire: first.kind === 'send' && first.mayExpire,
      caller: called,
      accepted: called !== undefined || ofKind(entries, 'answer').some(({ status }) => status === 'QUEUED'),
      cancels: ofKind(entries, 'cancel').length,
      cancelAnswers: ofKind(entries, 'cancelled'),
      results: ofKind(entries, 'result'),
      starts: ofKind(entries, 'start'),
      said: ofKind(entries, 'said'),
      spoken: ofKind(entries, 'spoken'),
      ends: ofKind(entries, 'end'),
      record: redis.tasks.get(task),
      events: events.get(task) ?? [],
    }
  })
}

function ofKind<Kind extends Entry['kind']>(entries: readonly Entry[], kind: Kind): EntryOf<Kind>[] {
  return entries.filter((entry): entry is EntryOf<Kind> => entry.kind === kind)
}

function eventsByTask(sessions: ReadonlyMap<string, readonly StoredEvent[]>): Map<string, StoredEvent[]> {
  const byTask = new Map<string, StoredEvent[]>()
  for (const events of sessions.values()) {
    for (const event of events) {
      const own = byTask.get(event.task)
      if (own === undefined) byTask.set(event.task, [event])
      else own.push(event)
    }
  }
  return byTask
}
