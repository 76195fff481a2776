import type { TaskRef } from '../protocol/ids.ts'
import type { LaneName, Priority } from '../redis/keys.ts'
import type { CancelRequest } from './cancel-request.ts'

/** The task that an operation calls. */
export interface CalledTask {
  readonly messageId: string
  readonly agentType: string
  readonly traceId: string
  readonly userCode: string
  readonly parentMessageId: string
  /** The caller waits for its end. */
  readonly replies: boolean
  readonly priority: Priority
  /** The envelope. */
  readonly data: string
}

/** An operation that a task begins. */
export interface Opening extends TaskRef {
  readonly fence: string
  readonly op: string
  /** JSON. */
  readonly entry: string
  /** What the emitter has said until now; see `Emitter.sum`. */
  readonly sum: string
  readonly called?: CalledTask | undefined
  /** A step: its entry keeps where the data stream ends. */
  readonly isStep?: boolean
}

/** A result of the owner's own. */
export interface Closing extends TaskRef {
  readonly fence: string
  readonly op: string
  /** JSON if the operation was not opened before, else ''. */
  readonly entry: string
  readonly result: string
  /** What of the result a replay must know before it reads it; JSON. */
  readonly short?: string
  readonly sum: string
}

/** A question to a person. */
export interface Question extends Opening {
  /** The `ask_user` event as JSON. */
  readonly event: string
  /** It was noted before, and its event taken back since. */
  readonly isAgain?: boolean
  readonly streamTtlMs: number
  readonly streamMaxLength: number
}

/** A task that is to be parked. */
export interface Parking extends TaskRef {
  readonly fence: string
  readonly waitsFor: 'agent' | 'user' | 'timer'
  readonly capability: string
  readonly priority: LaneName
  /** The envelope. */
  readonly data: string
  readonly ops: readonly string[]
}

/** Why an owner's call was refused. */
export type Refusal =
  | { readonly status: 'lost'; readonly holder: string }
  | { readonly status: 'cancelled'; readonly cancel: CancelRequest }

/** What was noted: `text` is the recorded result, or '' if there is none yet. */
export type NoteAnswer = { readonly status: 'noted'; readonly text: string } | Refusal

export type ParkAnswer = { readonly status: 'parked' } | { readonly status: 'ready' } | Refusal

/** A result that somebody else than the owner gives. */
export interface Answering extends TaskRef {
  readonly op: string
  /** JSON. */
  readonly result: string
  /** What of the result a replay must know before it reads it; JSON. */
  readonly short: string
}

/** What became of it. */
export type GivenAnswer = 'accepted' | 'known' | 'refused'
