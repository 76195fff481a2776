import type { Artifact, SessionEvent, TaskFault } from '../protocol/event.ts'
import { isTerminal, type TerminalStatus } from '../protocol/status.ts'
import { compareEntryIds } from '../redis/streams.ts'

/** What a reader keeps of an event, with the event's id. */
type Said<T> = Readonly<T> & { readonly id: string }

/** Where a task is, as far as its events tell; the record (`getTask`) knows more. */
export type ViewStatus = 'RUNNING' | 'RETRYING' | 'WAITING_USER' | TerminalStatus

/**
 * What a task has said so far and not taken back: plain data that is never changed, only replaced, so that it can be
 * compared by identity, kept as JSON, and handed to a user interface as it is.
 */
export interface TaskView {
  /** Empty for entries of the stream that belong to no task. */
  readonly messageId: string
  readonly parentMessageId: string
  readonly agentType: string
  /** The attempt that spoke last. */
  readonly attempt: number
  readonly status: ViewStatus
  /** All chunks, joined. */
  readonly text: string
  /** What the agent said that it was doing; the last one is what it does now. */
  readonly states: readonly Said<{ state: string; detail?: unknown }>[]
  readonly artifacts: readonly Said<{ artifact: Artifact }>[]
  readonly data: readonly Said<{ data: unknown }>[]
  /** All questions put, also those that were answered meanwhile. */
  readonly asks: readonly Said<{ askId: string; prompt: string; schema?: unknown; options?: unknown }>[]
  /** Why the task failed, or why its last attempt did if another one is to come; null once that one has begun. */
  readonly error: TaskFault | null
  /** What the handler returned; null unless the status is `COMPLETED`. */
  readonly result: unknown
  /**
   * For the reducer's own use: id of each chunk and where its text ends, so that a `rewind` finds where to cut. A text,
   * because to a text one can add without copying it.
   */
  readonly marks: string
  /** Id of the last event that was taken in; an event that is not later than this is known already. */
  readonly lastId: string
}

/** Arrays that one fold has made itself and nobody else has seen: those may grow in place. */
export type OwnArrays = WeakSet<object>

type TaskEvent = Exclude<SessionEvent, { readonly type: 'gap' }>

/** A task that has said nothing yet. */
export function silentTask(messageId: string): TaskView {
  return {
    ...{ messageId, parentMessageId: '', agentType: '', attempt: 0, status: 'RUNNING', text: '' },
    ...{ states: [], artifacts: [], data: [], asks: [], error: null, result: null, marks: '', lastId: '0-0' },
  }
}

/**
 * The view after one more event of the task: the same object if the event changes nothing, because it is known already
 * or comes after the task's `done`. What follows a `done` counts only if the task began a new life, as a redriven dead
 * letter does: with a `rewind`, or with another `done` if it ended before it could speak.
 */
export function foldTask(view: TaskView, event: TaskEvent, own?: OwnArrays): TaskView {
  if (compareEntryIds(event.id, view.lastId) <= 0) return view
  if (isTerminal(view.status) && event.type !== 'rewind' && event.type !== 'done') return view
  const { id, attempt } = event
  const parentMessageId = event.parentMessageId || view.parentMessageId
  const agentType = event.agentType || view.agentType
  return { ...view, parentMessageId, agentType, attempt, lastId: id, ...change(view, event, own) }
}

/** Adds to a list: in place if the fold has made it, else to a copy. */
export function grown<T>(list: readonly T[], item: T, own: OwnArrays | undefined): readonly T[] {
  if (own?.has(list)) {
    ;(list as T[]).push(item)
    return list
  }
  const copy = [...list, item]
  own?.add(copy)
  return copy
}

function change(view: TaskView, event: TaskEvent, own: OwnArrays | undefined): Partial<TaskView> {
  const { id } = event
  const status = 'RUNNING'
  switch (event.type) {
    case 'chunk': {
      const text = view.text + event.content
      return { status, text, marks: `${view.marks} ${id}:${text.length}` }
    }
    case 'state': {
      const { state, detail } = event
      return { status, states: grown(view.states, { id, state, ...(detail === undefined ? {} : { detail }) }, own) }
    }
    case 'data':
      return { status, data: grown(view.data, { id, data: event.data }, own) }
    case 'artifact':
      return { status, artifacts: grown(view.artifacts, { id, artifact: event.artifact }, own) }
    case 'ask_user': {
      const { askId, prompt, schema, options } = event
      return { status: 'WAITING_USER', asks: grown(view.asks, { id, askId, prompt, schema, options }, own) }
    }
    case 'rewind':
      return { status, error: null, result: null, ...rewound(view, event.toId) }
    case 'error': {
      const { code, message, retrying } = event
      return { status: retrying ? 'RETRYING' : status, error: { code, message } }
    }
    case 'done':
      return { status: event.status, error: event.error ?? null, result: event.result ?? null }
    default:
      return unknownType(event)
  }
}

/** What is left when all is forgotten that was said after the event `toId`. */
function rewound(view: TaskView, toId: string): Partial<TaskView> {
  const isKept = ({ id }: { readonly id: string }) => compareEntryIds(id, toId) <= 0
  return {
    ...rewoundText(view, toId),
    states: view.states.filter(isKept),
    artifacts: view.artifacts.filter(isKept),
    data: view.data.filter(isKept),
    asks: view.asks.filter(isKept),
  }
}

function rewoundText({ text, marks }: TaskView, toId: string): Pick<TaskView, 'text' | 'marks'> {
  for (let end = marks.length; end > 0; ) {
    const start = marks.lastIndexOf(' ', end - 1)
    const [id = '', textEnd] = marks.slice(start + 1, end).split(':')
    if (compareEntryIds(id, toId) <= 0) return { text: text.slice(0, Number(textEnd)), marks: marks.slice(0, end) }
    end = start
  }
  return { text: '', marks: '' }
}

/** The compiler refuses this call when a type of event is missing above; a newer writer's is passed over. */
function unknownType(_event: never): Partial<TaskView> {
  return {}
}
