/** How long what a task leaves behind is kept, in ms and entries. */
export interface Retention {
  /** A finished task's record. */
  readonly resultTtlMs: number
  /** A session's data stream after its last sign of life. */
  readonly streamTtlMs: number
  /** About how many events a session's stream keeps. */
  readonly streamMaxLength: number
}

const DAY_MS = 86_400_000

export const DEFAULT_RETENTION: Retention = { resultTtlMs: DAY_MS, streamTtlMs: DAY_MS, streamMaxLength: 200_000 }

/** For those who write a few events and no more: how long streams may be is the workers' to say, and theirs to see to. */
export const ANY_LENGTH = Number.MAX_SAFE_INTEGER
