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
  const fold = new Fold(from)
  let view = from
  for (const event of events) view = foldInto(view, event, fold)
  return view
}

/** What a task has said, or undefined if it has not spoken yet. */
export function taskIn(view: SessionView, messageId: string): TaskView | undefined {
  return view.tasks.findLast((task) => task.messageId === messageId)
}

/**
 * A fold of many events of which nobody sees what lies in between: arrays grow in place, so a long answer costs no copy
 * per event, and tasks that spoke are not looked for again, so a session of many tasks costs no search.
 */
export class Fold {
  readonly own: OwnArrays = new WeakSet()
  readonly #places = new Map<string, number>()
  /** Tasks of the view with which it began: the others have their places above. */
  readonly #before: number

  constructor({ tasks }: SessionView) {
    this.#before = tasks.length
  }

  /** Where a task is among those of the view, or -1. */
  place({ tasks }: SessionView, messageId: string): number {
    const known = this.#places.get(messageId)
    if (known !== undefined) return known
    const found = lastPlace(tasks, this.#before, messageId)
    if (found >= 0) this.note(messageId, found)
    return found
  }

  /** Takes note of the place that a task has got. */
  note(messageId: string, place: number): void {
    this.#places.set(messageId, place)
  }
}

/** {@link foldEvent}, as one of a {@link Fold} if one is given. */
export function foldInto(view: SessionView, event: SessionEvent, fold?: Fold): SessionView {
  if (event.type === 'gap') return view.hasGap ? view : { ...view, hasGap: true }
  const { tasks } = view
  const { messageId } = event
  const index = fold?.place(view, messageId) ?? lastPlace(tasks, tasks.length, messageId)
  const before = tasks[index] ?? silentTask(messageId)
  const task = foldTask(before, event, fold?.own)
  const lastId = compareEntryIds(event.id, view.lastId) > 0 ? event.id : view.lastId
  if (task === before) return lastId === view.lastId ? view : { ...view, lastId }
  if (index >= 0) return { ...view, lastId, tasks: replaced(tasks, index, task, fold?.own) }
  fold?.note(messageId, tasks.length)
  return { ...view, lastId, tasks: grown(tasks, task, fold?.own) }
}

/** From the end, for those who spoke last speak most. */
function lastPlace(tasks: readonly TaskView[], end: number, messageId: string): number {
  for (let at = end - 1; at >= 0; at -= 1) if (tasks[at]?.messageId === messageId) return at
  return -1
}

function replaced(tasks: readonly TaskView[], index: number, task: TaskView, own?: OwnArrays): readonly TaskView[] {
  const copy = own?.has(tasks) ? (tasks as TaskView[]) : [...tasks]
  copy[index] = task
  own?.add(copy)
  return copy
}
