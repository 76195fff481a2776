import type { SessionEvent } from '../protocol/event.ts'
import { compareEntryIds } from '../redis/streams.ts'
import { foldTask, grown, type OwnArrays, silentTask, type TaskView } from './task-view.ts'

/**
 * A session as its events have told it so far: plain data that is never changed, only replaced. It can be kept as JSON
 * and be folded on later, with `subscribe(sessionId, { after: view.lastId })`.
 */
export interface SessionView {
  /** The tasks that have spoken, in the order of their first event. */
  readonly tasks: readonly TaskView[]
  /** Id of the newest event taken in. */
  readonly lastId: string
  /** Events were trimmed before the reader came: what they said is missing. */
  readonly hasGap: boolean
}

/** The view before the first event; where a fold begins. */
export const EMPTY_VIEW: SessionView = Object.freeze({ tasks: Object.freeze([]), lastId: '0-0', hasGap: false })

/**
 * The view after one more event: a reducer for a user interface. It applies `rewind`, passes over what is known already
 * and what comes too late, and answers the same object where nothing changes.
 */
export function foldEvent(view: SessionView, event: SessionEvent): SessionView {
  return foldInto(view, event)
}

/**
 * The view after all these events, in the order in which a subscription gives them; also those of several tasks.
 *
 * @param from - The view after what came before. Default: nothing came.
 */
export function foldEvents(events: Iterable<SessionEvent>, from: SessionView = EMPTY_VIEW): SessionView {
  const own: OwnArrays = new WeakSet()
  let view = from
  for (const event of events) view = foldInto(view, event, own)
  return view
}

/** What a task has said, or undefined if it has not spoken yet. */
export function taskIn(view: SessionView, messageId: string): TaskView | undefined {
  return view.tasks.find((task) => task.messageId === messageId)
}

/**
 * {@link foldEvent} for those who fold many events and show nobody what lies in between: with the same `own` in each
 * call, arrays grow in place, so a long answer costs no copy per event.
 */
export function foldInto(view: SessionView, event: SessionEvent, own?: OwnArrays): SessionView {
  if (event.type === 'gap') return view.hasGap ? view : { ...view, hasGap: true }
  const { tasks } = view
  const index = tasks.findIndex(({ messageId }) => messageId === event.messageId)
  const before = tasks[index] ?? silentTask(event.messageId)
  const task = foldTask(before, event, own)
  const lastId = compareEntryIds(event.id, view.lastId) > 0 ? event.id : view.lastId
  if (task === before) return lastId === view.lastId ? view : { ...view, lastId }
  return { ...view, lastId, tasks: index < 0 ? grown(tasks, task, own) : replaced(tasks, index, task, own) }
}

function replaced(tasks: readonly TaskView[], index: number, task: TaskView, own?: OwnArrays): readonly TaskView[] {
  const copy = own?.has(tasks) ? (tasks as TaskView[]) : [...tasks]
  copy[index] = task
  own?.add(copy)
  return copy
}
