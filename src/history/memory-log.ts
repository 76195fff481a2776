import { HISTORY_ROLES, type HistoryMessage, type HistoryRole } from '../agent/history.ts'

/** A message as the log takes it and gives it back. */
export type LogMessage = Omit<HistoryMessage, 'id' | 'sessionId'>

/** A message with its position, which only grows, and that of the one before it of the same owner. */
export interface LogRecord extends LogMessage {
  readonly position: number
  readonly previous: number
}

/** No position. */
export const NOWHERE = -1

const FIRST_BYTES = 65_536
const WORD = Float64Array.BYTES_PER_ELEMENT
// The numbers before a record's texts.
const [OWNER, PREVIOUS, CREATED_AT, TOKEN, KIND, ID_BYTES, CONTENT_BYTES, METADATA_BYTES] = [
  0, 1, 2, 3, 4, 5, 6, 7,
] as const
const HEAD_BYTES = 8 * WORD
/** Stands for an owner where nothing follows before the end of the block. */
const NOTHING = -1

/**
 * Messages in one block of memory, one behind the other as they come; the oldest are overwritten. What is kept costs the
 * garbage collector nothing: objects that are to live for as long as some hundred later tasks would be copied twice, and
 * cost more than all else that a trivial task does in its worker.
 *
 * A position counts bytes since the beginning; modulo the size of the block it is a place in it. A record does not go
 * over the block's end.
 */
export class MemoryLog {
  readonly #mostBytes: number
  readonly #onOverwrite: (owner: number, position: number) => void
  #bytes: Buffer
  #numbers: Float64Array
  #head = 0
  #tail = 0

  /** @param onOverwrite - Told of each record that is about to be overwritten. */
  constructor(mostBytes: number, onOverwrite: (owner: number, position: number) => void) {
    this.#mostBytes = toWords(mostBytes)
    this.#onOverwrite = onOverwrite
    ;[this.#bytes, this.#numbers] = allocate(Math.min(FIRST_BYTES, this.#mostBytes))
  }

  /** The position of the oldest record; what lies before it is overwritten. */
  get tail(): number {
    return this.#tail
  }

  /** Answers the position of the new record. */
  append(owner: number, previous: number, message: LogMessage): number {
    const { role, content, messageId, metadata, createdAt, fencingToken } = message
    const isText = typeof content === 'string'
    const text = isText ? content : JSON.stringify(content)
    const more = isEmpty(metadata) ? '' : JSON.stringify(metadata)
    const idBytes = Buffer.byteLength(messageId)
    const contentBytes = Buffer.byteLength(text)
    const moreBytes = more === '' ? 0 : Buffer.byteLength(more)
    const size = toWords(HEAD_BYTES + idBytes + contentBytes + moreBytes)
    this.#makeRoom(size)
    const position = this.#head
    const at = position % this.#bytes.length
    const word = at / WORD
    const numbers = this.#numbers
    numbers[word + OWNER] = owner
    numbers[word + PREVIOUS] = previous
    numbers[word + CREATED_AT] = createdAt
    numbers[word + TOKEN] = fencingToken
    numbers[word + KIND] = 2 * HISTORY_ROLES.indexOf(role) + (isText ? 0 : 1)
    numbers[word + ID_BYTES] = idBytes
    numbers[word + CONTENT_BYTES] = contentBytes
    numbers[word + METADATA_BYTES] = moreBytes
    this.#bytes.write(messageId, at + HEAD_BYTES, 'utf8')
    this.#bytes.write(text, at + HEAD_BYTES + idBytes, 'utf8')
    if (more !== '') this.#bytes.write(more, at + HEAD_BYTES + idBytes + contentBytes, 'utf8')
    this.#head += size
    return position
  }

  /** The record at a position that was not overwritten. */
  read(position: number): LogRecord {
    const at = position % this.#bytes.length
    const number = (index: number) => this.#numbers[at / WORD + index] as number
    const idAt = at + HEAD_BYTES
    const contentAt = idAt + number(ID_BYTES)
    const metadataAt = contentAt + number(CONTENT_BYTES)
    const content = this.#bytes.toString('utf8', contentAt, metadataAt)
    const metadata = this.#bytes.toString('utf8', metadataAt, metadataAt + number(METADATA_BYTES))
    const kind = number(KIND)
    return {
      position,
      previous: number(PREVIOUS),
      role: HISTORY_ROLES[kind >> 1] as HistoryRole,
      content: kind % 2 === 0 ? content : JSON.parse(content),
      messageId: this.#bytes.toString('utf8', idAt, contentAt),
      metadata: metadata === '' ? {} : JSON.parse(metadata),
      createdAt: number(CREATED_AT),
      fencingToken: number(TOKEN),
    }
  }

  /** The owner of the record at or behind a position, and where the one after it is; nothing where the log ends. */
  owner(position: number): { readonly owner: number; readonly position: number; readonly next: number } | undefined {
    if (position >= this.#head) return undefined
    const at = position % this.#bytes.length
    const owner = this.#numbers[at / WORD + OWNER] as number
    if (owner === NOTHING) return this.owner(position + this.#bytes.length - at)
    return { owner, position, next: position + this.#sizeAt(at) }
  }

  #sizeAt(at: number): number {
    const word = at / WORD
    const numbers = this.#numbers
    const texts =
      (numbers[word + ID_BYTES] as number) +
      (numbers[word + CONTENT_BYTES] as number) +
      (numbers[word + METADATA_BYTES] as number)
    return toWords(HEAD_BYTES + texts)
  }

  #makeRoom(size: number): void {
    if (Math.max(size, this.#bytes.length) > this.#mostBytes) this.#beginAnew(Math.max(size, this.#mostBytes))
    else if (this.#head + size > this.#bytes.length && this.#bytes.length < this.#mostBytes) this.#grow(size)
    const length = this.#bytes.length
    const left = length - (this.#head % length)
    if (left < size) {
      this.#overwriteUntil(this.#head + left - length)
      this.#numbers[(this.#head % length) / WORD] = NOTHING
      this.#head += left
    }
    this.#overwriteUntil(this.#head + size - length)
  }

  /** As long as the block grows it was never full. */
  #grow(size: number): void {
    const old = this.#bytes
    const length = Math.min(this.#mostBytes, Math.max(2 * old.length, toWords(this.#head + size)))
    ;[this.#bytes, this.#numbers] = allocate(length)
    old.copy(this.#bytes)
  }

  /** A message that is larger than all may be is kept alone, in a block of its size, which goes with it. */
  #beginAnew(length: number): void {
    this.#overwriteUntil(this.#head)
    this.#head = Math.ceil(this.#head / length) * length
    this.#tail = this.#head
    if (length !== this.#bytes.length) [this.#bytes, this.#numbers] = allocate(length)
  }

  #overwriteUntil(position: number): void {
    while (this.#tail < position) {
      const oldest = this.owner(this.#tail)
      if (oldest === undefined) {
        this.#tail = this.#head
        return
      }
      this.#onOverwrite(oldest.owner, oldest.position)
      this.#tail = oldest.next
    }
  }
}

function allocate(bytes: number): [Buffer, Float64Array] {
  const memory = new ArrayBuffer(bytes)
  return [Buffer.from(memory), new Float64Array(memory)]
}

function toWords(bytes: number): number {
  return Math.ceil(bytes / WORD) * WORD
}

function isEmpty(value: object): boolean {
  for (const _ in value) return false
  return true
}
