import type { Marks } from './durable/program.ts'
import type { Entry } from './journal.ts'
import type { ReaderPlan } from './plan.ts'

/** An event as it stands in a session's stream. */
export interface StoredEvent {
  readonly id: string
  readonly task: string
  readonly type: string
  readonly content: string
  /** Fencing token and number that the handler put into the chunk. */
  readonly token: number | undefined
  readonly n: number | undefined
  /** Of a `rewind`. */
  readonly toId: string
  /** Of a `done`. */
  readonly status: string
}

/** A task's record. */
export interface StoredTask {
  readonly task: string
  readonly session: string
  /** Letter of the state: `C F X E` are the ends. */
  readonly state: string
  readonly epoch: number
  readonly errorCode: string
  /** The token inside the handler's result, if there is one. */
  readonly resultToken: number | undefined
  /** The task that called it, or ''. */
  readonly parent: string
  /** What a durable task's result says of its operations. */
  readonly marks?: Marks
}

export interface StoredControl {
  readonly stream: string
  readonly length: number
  readonly pending: number
  /** Consumers with entries that are pending. */
  readonly owners: readonly string[]
}

export interface StoredLetter {
  readonly capability: string
  readonly reason: string
  readonly task: string
  readonly data: string
}

/** A key and how long it lives: -1 for ever. */
export interface StoredKey {
  readonly key: string
  readonly type: string
  readonly ttlMs: number
}

/** What is in Redis when all is over and the workers have gone. */
export interface Snapshot {
  /** Events by session. */
  readonly sessions: ReadonlyMap<string, readonly StoredEvent[]>
  readonly tasks: ReadonlyMap<string, StoredTask>
  readonly control: readonly StoredControl[]
  readonly letters: readonly StoredLetter[]
  readonly keys: readonly StoredKey[]
}

/** All that an audit looks at. */
export interface Evidence {
  readonly journal: readonly Entry[]
  readonly redis: Snapshot
  readonly readers: readonly ReaderPlan[]
}

/** What is wrong, by kind. The first three are those that must never be. */
export type Check =
  /** A task that was accepted has no end. */
  | 'lost'
  /** A task ended more than once, or a token or an event was given twice. */
  | 'repeated'
  /** Redis took an event or an end from an attempt that was not the owner. */
  | 'stale'
  /** The end is not the one that the task's work and what senders and cancellers were told allow. */
  | 'wrong-end'
  /** What a session says is not what one complete attempt says, or an acknowledged event is missing. */
  | 'output'
  /** A reader missed an event, saw one twice or out of order, or did not end. */
  | 'reader'
  /** Something is left in Redis that nobody will ever take away. */
  | 'leftover'
  /** Dead letters that are missing or have no cause. */
  | 'dead-letter'

export interface Finding {
  readonly check: Check
  /** Ids of what it is about. */
  readonly ids: readonly string[]
  /** One sentence. */
  readonly text: string
}
