import { errorMessage, GatewayError } from '../errors.ts'
import { cancelledDone } from '../protocol/endings.ts'
import { type EventBody, eventEncoder } from '../protocol/event.ts'
import type { MessageHeader } from '../protocol/header.ts'
import type { Commit, CommitAnswer, CommitEnd, DataWriter } from '../store/data-streams.ts'
import { type CancelRequest, endedFence, parkedFence } from '../store/task-records.ts'
import { type Deferred, deferred } from '../util/deferred.ts'

/** Ownership of a task by one attempt, as far as writing needs it. */
export interface Ownership {
  readonly fence: string
  readonly attempt: number
  /** Events that earlier attempts of the task have written. */
  readonly written: number
}

type Done = EventBody & { type: 'done' }

interface Pending {
  readonly json: string
  readonly end: CommitEnd | undefined
  readonly settled: Deferred<void>
}

const MAX_EVENTS_PER_COMMIT = 256
const MAX_LENGTH_PER_COMMIT = 262_144
/** Text beyond this is not kept as the task's content; whoever wants it reads the stream. */
const MAX_TEXT_LENGTH = 262_144

/**
 * What one attempt says, in order. One commit of a task is under way at a time; what is said meanwhile goes out
 * together with the next, so order needs no waiting and a burst makes its own batches.
 */
export class Emitter {
  readonly #writer: DataWriter
  readonly #header: MessageHeader
  readonly #ownership: Ownership
  readonly #encode: ReturnType<typeof eventEncoder>
  readonly #onLost: (holder: string) => void
  #queue: Pending[] = []
  #sending = false
  #next: number
  #closed: GatewayError | undefined
  #text = ''
  #hasEnded = false
  #wasCancelled = false

  constructor(options: {
    writer: DataWriter
    header: MessageHeader
    agentType: string
    ownership: Ownership
    /** Told once when a write was refused because the attempt does not own its task any more. */
    onLost: (holder: string) => void
  }) {
    this.#writer = options.writer
    this.#header = options.header
    this.#ownership = options.ownership
    this.#onLost = options.onLost
    this.#encode = eventEncoder(options.header, options.agentType)
    this.#next = options.ownership.written + 1
  }

  /** Takes back what earlier attempts have said, if they did: this one speaks afresh. */
  rewind(): void {
    if (this.#ownership.written > 0) void this.emit({ type: 'rewind', toId: '0-0' })
  }

  /** The text of all chunks of this attempt, cut off at 256 Ki characters. */
  get text(): string {
    return this.#text
  }

  /** True if the task ended as CANCELLED although another end was asked for. */
  get wasCancelled(): boolean {
    return this.#wasCancelled
  }

  /** Resolves when Redis has the event. */
  emit(body: EventBody, metadata?: Record<string, unknown>): Promise<void> {
    if (body.type === 'chunk' && this.#text.length < MAX_TEXT_LENGTH) this.#text += body.content
    return this.#add(body, undefined, metadata)
  }

  /**
   * Says the last word: the `done` event together with the task's end; nothing can be said after it. A task that was
   * cancelled meanwhile ends as CANCELLED instead.
   */
  end(done: Done, fields: Record<string, string>): Promise<void> {
    return this.#close(done, { fence: endedFence(this.#ownership.fence, done.status), fields })
  }

  /** Says why the attempt failed and leaves the task to its next one, due in `delayMs`; otherwise like {@link end}. */
  park(error: EventBody & { type: 'error' }, delayMs: number, fields: Record<string, string>): Promise<void> {
    const due = { due_at: String(Math.ceil(delayMs)) }
    return this.#close(error, { fence: parkedFence(this.#ownership.fence), fields: { ...due, ...fields } })
  }

  #close(body: EventBody, end: CommitEnd): Promise<void> {
    const closed = this.#add(body, end)
    this.#hasEnded = true
    return closed
  }

  #add(body: EventBody, end: CommitEnd | undefined, metadata?: Record<string, unknown>): Promise<void> {
    const settled = deferred()
    // A handler need not await each emit; the refusal reaches it by its signal, and the executor by `end`.
    settled.promise.catch(() => undefined)
    if (this.#hasEnded) this.#closed ??= new GatewayError('GW_CLOSED', { what: `task ${this.#header.messageId}` })
    if (this.#closed !== undefined) {
      settled.reject(this.#closed)
      return settled.promise
    }
    try {
      this.#queue.push({ json: this.#encode(body, this.#ownership.attempt, metadata), end, settled })
    } catch (cause) {
      // Cycles and BigInts, which JSON cannot carry.
      const reason = errorMessage(cause)
      settled.reject(new GatewayError('GW_INVALID_ARGUMENT', { field: `the ${body.type} event`, reason }, { cause }))
      return settled.promise
    }
    if (!this.#sending) this.#send()
    return settled.promise
  }

  #send(): void {
    this.#sending = true
    let batch: readonly Pending[] = []
    const source = () => {
      batch = this.#takeBatch()
      return this.#toCommit(batch)
    }
    this.#writer.commit(source).then(
      (answer) => this.#settle(batch, answer),
      (error: unknown) => this.#fail(batch, error),
    )
  }

  /** What goes out together: as much as one call of the server should carry for one task. */
  #takeBatch(): readonly Pending[] {
    let size = 0
    let length = 0
    while (size < this.#queue.length && size < MAX_EVENTS_PER_COMMIT) {
      length += (this.#queue[size] as Pending).json.length
      if (size > 0 && length > MAX_LENGTH_PER_COMMIT) break
      size += 1
    }
    if (size < this.#queue.length) return this.#queue.splice(0, size)
    const all = this.#queue
    this.#queue = []
    return all
  }

  #toCommit(batch: readonly Pending[]): Commit {
    const first = this.#next
    this.#next += batch.length
    const end = batch.at(-1)?.end
    return {
      sessionId: this.#header.sessionId,
      messageId: this.#header.messageId,
      fence: this.#ownership.fence,
      first,
      events: batch.map(({ json }) => json),
      ...(end === undefined ? {} : { end }),
    }
  }

  #settle(batch: readonly Pending[], answer: CommitAnswer): void {
    if (answer.ok) {
      for (const { settled } of batch) settled.resolve()
      if (this.#queue.length > 0) this.#send()
      else this.#sending = false
      return
    }
    if (answer.cancel !== undefined) {
      this.#endCancelled(batch, answer.cancel)
      return
    }
    this.#lose(answer.holder, batch)
  }

  #lose(holder: string, batch: readonly Pending[]): void {
    const lost = new GatewayError('GW_LEASE_LOST', {
      messageId: this.#header.messageId,
      holder: holder || 'nobody',
    })
    this.#fail(batch, lost)
    this.#onLost(holder)
  }

  /** The last batch was refused, because the task was cancelled meanwhile: it goes again with the end that is due. */
  #endCancelled(batch: readonly Pending[], { reason }: CancelRequest): void {
    const last = batch.at(-1) as Pending
    const done = cancelledDone(reason)
    const fields = { error: JSON.stringify(done.error) }
    const end = { fence: endedFence(this.#ownership.fence, 'CANCELLED'), fields }
    const json = this.#encode(done, this.#ownership.attempt)
    this.#wasCancelled = true
    this.#next -= batch.length
    this.#queue.unshift(...batch.slice(0, -1), { json, end, settled: last.settled })
    this.#send()
  }

  #fail(batch: readonly Pending[], error: unknown): void {
    const reason =
      error instanceof GatewayError
        ? error
        : new GatewayError('GW_REDIS_FAILED', { operation: 'an emit', reason: errorMessage(error) }, { cause: error })
    this.#closed = reason
    const rest = this.#queue
    this.#queue = []
    for (const { settled } of batch) settled.reject(reason)
    for (const { settled } of rest) settled.reject(reason)
  }
}
