import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import type { Work } from './work.ts'

/** Points in time are Unix ms of this machine, which is also the one that Redis runs on. */
interface At {
  readonly at: number
}

/** Who an attempt is: the task and its fencing token, which grows from attempt to attempt. */
interface OfAttempt extends At {
  readonly task: string
  readonly token: number
}

/** One thing that somebody saw or did. */
export type Entry =
  /** A sender is about to send; sent again under the same id it stands here again. */
  | ({
      readonly kind: 'send'
      readonly task: string
      readonly session: string
      readonly work: Work
      readonly mayExpire: boolean
    } & At)
  /** A task that another one calls begins. */
  | ({
      readonly kind: 'called'
      readonly task: string
      readonly session: string
      readonly parent: string
      /** The act of the parent. */
      readonly path: string
      readonly work: Work
    } & At)
  /** What the sender was told: `QUEUED`, another status, or `ERROR` when the call threw. */
  | ({ readonly kind: 'answer'; readonly task: string; readonly status: string; readonly code?: string } & At)
  /** Bytes that are no command were put on a control stream. */
  | ({ readonly kind: 'poison'; readonly mark: string; readonly entryId: string } & At)
  | ({ readonly kind: 'cancel'; readonly task: string } & At)
  /** What the canceller was told. */
  | ({ readonly kind: 'cancelled'; readonly task: string; readonly status: string; readonly code?: string } & At)
  /** What one who waited for a result was told. */
  | ({ readonly kind: 'result'; readonly task: string; readonly status: string; readonly attempts: number } & At)
  /** A handler begins. */
  | ({ readonly kind: 'start'; readonly attempt: number; readonly worker: string; readonly pid: number } & OfAttempt)
  /** The emit of chunk `n` was resolved: Redis has it. */
  | ({ readonly kind: 'said'; readonly n: number } & OfAttempt)
  /** The emit of a durable task's chunk was resolved: Redis has it, from this attempt or from one before. */
  | ({ readonly kind: 'spoken'; readonly text: string } & OfAttempt)
  /** What a person who answered a question was told. */
  | ({ readonly kind: 'replied'; readonly ask: string; readonly status: string } & At)
  /** The handler did something outside, guarded by its token. */
  | ({ readonly kind: 'effect' } & OfAttempt)
  | ({ readonly kind: 'end'; readonly how: 'returned' | 'threw'; readonly reason?: string } & OfAttempt)
  /** A reader was given an event. */
  | ({ readonly kind: 'seen'; readonly reader: string; readonly id: string; readonly type: string } & At)
  /** How a reader ended: by itself, or told to at the end of the run. */
  | ({ readonly kind: 'read'; readonly reader: string; readonly how: 'ended' | 'stopped' } & At)
  /** Trouble that was made. */
  | ({ readonly kind: 'fault'; readonly fault: string; readonly target: string; readonly detail?: string } & At)

/** An entry without its time, which the journal adds. */
export type Note = Entry extends infer Each ? (Each extends Entry ? Omit<Each, 'at'> : never) : never

/**
 * What all processes of a run write down, line by line, into one file. Each line is one write at the end of the file,
 * so lines of several processes do not mix, their order is the order of the writes, and what was written is there
 * even if the writer is killed by the next instruction.
 */
export class Journal {
  readonly #file: number

  constructor(path: string) {
    this.#file = openSync(path, 'a')
  }

  note(note: Note): void {
    writeSync(this.#file, `${JSON.stringify({ at: Date.now(), ...note })}\n`)
  }

  close(): void {
    closeSync(this.#file)
  }

  static read(path: string): Entry[] {
    const lines = readFileSync(path, 'utf8').split('\n')
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Entry)
  }
}
