import { DATA_FIELD, TURN_FIELD } from '../protocol/codec.ts'
import { parseJson } from '../protocol/json.ts'
import { isLaneName, type LaneName } from '../redis/keys.ts'
import { isEntryId } from '../redis/streams.ts'
import type { AttemptFailure } from './task-records.ts'

/*
 * A dead letter on its stream: the fields of the control entry, `data` under its own name and all others under
 * `entry.<name>`, byte for byte; then what is known of the failure.
 */

/** Something a worker could not process or finish, kept for an operator. */
export interface DeadLetter {
  /** Id of the entry in the dead-letter stream; its first part is when it came there (Unix ms). */
  readonly id: string
  readonly capability: string
  /** `failed`: the last attempt failed. All else says why the message could not be understood. */
  readonly reason: string
  readonly detail: string
  /** What stood in the control entry's `data` field, byte for byte; empty if there was no such field. */
  readonly data: string
  /** Lane of the control stream on which it stood. */
  readonly priority: LaneName
  /** Id of the control entry. */
  readonly entryId: string
  /** The worker that gave it up. */
  readonly workerId: string
  /** Empty where the message does not say. */
  readonly sessionId: string
  readonly messageId: string
  /** Fencing number of the last attempt; 0 where none was begun or it is not known. */
  readonly epoch: number
  /** Attempts that failed, oldest first; empty for what could not be understood. */
  readonly history: readonly AttemptFailure[]
}

/** What a worker says of an entry that it gives up. */
export type NewDeadLetter = Omit<DeadLetter, 'id' | 'data' | 'priority' | 'epoch' | 'history'> &
  Partial<Pick<DeadLetter, 'epoch' | 'history'>> & {
    /** Taken if the control entry itself is gone. */
    readonly data?: string | Buffer
  }

/** An entry as its bytes. */
export type RawBytes = readonly [id: Buffer, fields: readonly Buffer[]]

export type FieldBytes = readonly [name: string, value: string | Buffer]

/** A letter as its reader holds it: the bytes untouched, so that they can go back to where they came from. */
export class HeldLetter {
  readonly id: string
  readonly capability: string
  /** The fields which the control entry had besides `data`. */
  readonly others: readonly FieldBytes[]
  // Who sweeps a hundred thousand letters asks for few of their fields, so each is read when it is asked for.
  readonly #own: ReadonlyMap<string, Buffer>

  constructor(capability: string, [id, flat]: RawBytes) {
    this.id = id.toString('latin1')
    this.capability = capability
    const own = new Map<string, Buffer>()
    const others: FieldBytes[] = []
    for (const [name, value] of pairs(flat)) {
      if (name.startsWith(FOREIGN)) others.push([name.slice(FOREIGN.length), value])
      else own.set(name, value)
    }
    this.#own = own
    this.others = others
  }

  /** What stood in the entry's field of that name, if there was one. */
  get data(): Buffer | undefined {
    return this.#own.get(DATA_FIELD)
  }

  get reason(): string {
    return this.#text('reason')
  }

  get detail(): string {
    return this.#text('detail')
  }

  get sessionId(): string {
    return this.#text('session_id')
  }

  get messageId(): string {
    return this.#text('message_id')
  }

  get entryId(): string {
    return this.#text('entry_id')
  }

  get priority(): LaneName {
    const text = this.#text('priority')
    return isLaneName(text) ? text : 'normal'
  }

  get epoch(): number {
    return toCount(this.#text('epoch'))
  }

  /** The epoch of the record for which the control entry was put on its stream. */
  get turn(): number {
    return turnOf(this.others)
  }

  /** What the letter stands for in the index. */
  get member(): string {
    return memberOf(this, this.others)
  }

  /** The letter for people and programs: its data as text. */
  toDeadLetter(): DeadLetter {
    const { id, capability, reason, detail, priority, entryId, sessionId, messageId, epoch } = this
    const [data, workerId, history] = [this.#text(DATA_FIELD), this.#text('worker_id'), this.#text('history')]
    const ids = { entryId, workerId, sessionId, messageId }
    return { id, capability, reason, detail, data, priority, ...ids, epoch, history: toHistory(history) }
  }

  #text(name: string): string {
    return this.#own.get(name)?.toString() ?? ''
  }
}

/** Says in a control entry that names no task from which dead letter it was made. */
const ORIGIN_FIELD = 'redrive_of'
const FOREIGN = 'entry.'
/** More fields than this do not fit into one call of a script; nobody's entry has them. */
const MOST_FIELDS = 3_000

/** The fields of a new letter, and what it stands for: there is one letter at most for each member. */
export function letterFields(
  letter: NewDeadLetter,
  priority: LaneName,
  entry: readonly Buffer[],
): { readonly member: string; readonly fields: (string | Buffer)[] } {
  const original = pairs(entry)
  const data = original.find(([name]) => name === DATA_FIELD)?.[1] ?? letter.data
  const others = original.filter(([name]) => name !== DATA_FIELD).slice(0, MOST_FIELDS)
  const fields = [
    ...(data === undefined ? [] : [DATA_FIELD, data]),
    ...others.flatMap(([name, value]) => [FOREIGN + name, value]),
    ...['reason', letter.reason, 'detail', letter.detail, 'priority', priority, 'entry_id', letter.entryId],
    ...['worker_id', letter.workerId, 'session_id', letter.sessionId, 'message_id', letter.messageId],
    ...(letter.epoch === undefined ? [] : ['epoch', String(letter.epoch)]),
    ...(letter.history === undefined ? [] : ['history', JSON.stringify(letter.history)]),
  ]
  return { member: memberOf({ ...letter, priority }, others), fields }
}

/**
 * The fields with which a letter goes back to its control stream: as a task that waits with this turn, or, where it
 * names no task, as the plain entry it was.
 */
export function returnedFields(letter: HeldLetter, data: string | Buffer, turn: string | undefined): FieldBytes[] {
  const others = letter.others.filter(([name]) => name !== TURN_FIELD && name !== ORIGIN_FIELD)
  const mark: FieldBytes = turn === undefined ? [ORIGIN_FIELD, letter.id] : [TURN_FIELD, turn]
  return [[DATA_FIELD, data], ...others, mark]
}

/**
 * A task has one letter per turn: a redelivered entry and a duplicate have the same turn as the first, a redriven one
 * has a later one. What names no task has one per entry, or per letter from which the entry was made.
 */
function memberOf(
  { sessionId, messageId, entryId, priority }: Pick<DeadLetter, 'sessionId' | 'messageId' | 'entryId' | 'priority'>,
  others: readonly FieldBytes[],
): string {
  if (messageId !== '') return `task ${sessionId} ${messageId} ${turnOf(others)}`
  const origin = String(others.find(([name]) => name === ORIGIN_FIELD)?.[1] ?? '')
  return isEntryId(origin) ? `letter ${origin}` : `entry ${priority} ${entryId}`
}

function turnOf(others: readonly FieldBytes[]): number {
  return toCount(String(others.find(([name]) => name === TURN_FIELD)?.[1] ?? ''))
}

function pairs(flat: readonly Buffer[]): [name: string, value: Buffer][] {
  const all: [string, Buffer][] = []
  for (let i = 0; i + 1 < flat.length; i += 2) all.push([String(flat[i]), flat[i + 1] as Buffer])
  return all
}

function toCount(text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : 0
}

function toHistory(text: string): readonly AttemptFailure[] {
  const json = text === '' ? undefined : parseJson(text)
  return json?.ok && Array.isArray(json.value) ? (json.value as AttemptFailure[]) : []
}
