import { errorMessage, GatewayError } from '../errors.ts'
import { cancelledDone } from '../protocol/endings.ts'
import type { EventBody } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import type { CancelRequest } from '../store/cancel-request.ts'
import type { Commit, CommitAnswer, CommitSink, CommitSource, DataWriter } from '../store/data-writer.ts'
import { endedFence } from '../store/fence.ts'
import { type Deferred, deferred } from '../util/deferred.ts'
import { JoinedChunks, type Pending, takeBatch, Words } from './pending.ts'

/** Whose words go out. */
export interface Speaker {
  /** An event as JSON. */
  encode(body: EventBody): string
  /** Told what goes out now, up to event number `last`; answers the sum that the record is to keep, if any. */
  leaving(batch: readonly Pending[], last: number): string | undefined
}

/**
 * How the words of one attempt get onto the session's data stream, in order. One commit is under way at a time; what is
 * put meanwhile goes out together with the next, so order needs no waiting and a burst makes its own batches.
 */
export class Outbox implements CommitSource, CommitSink {
  readonly #writer: DataWriter
  readonly #task: TaskRef & { readonly fence: string }
  readonly #speaker: Speaker
  #onLost: (holder: string) => void
  readonly #coalesceMs: number
  #queue: Pending[] = []
  /** What is under way. */
  #batch: readonly Pending[] = []
  #isSending = false
  /** What was put while it was shut. */
  #behind: Pending[] = []
  #isShut = false
  /** Runs while chunks wait for others to be joined with. */
  #joining: NodeJS.Timeout | undefined
  #written: number
  #lastId = ''
  #hasEnded = false
  #closed: GatewayError | undefined
  #cancel: CancelRequest | undefined
  #hasSettled = false
  #turn: Deferred<void> | undefined

  constructor(options: {
    writer: DataWriter
    task: TaskRef & { readonly fence: string }
    speaker: Speaker
    /** Events that earlier attempts of the task have written. */
    written: number
    /** Told once when a write was refused because the attempt does not own its task any more. */
    onLost: (holder: string) => void
    /** Chunks that are said within so many ms become one event; 0: each is one. */
    coalesceMs: number
  }) {
    this.#writer = options.writer
    this.#task = options.task
    this.#speaker = options.speaker
    this.#written = options.written
    this.#onLost = options.onLost
    this.#coalesceMs = options.coalesceMs
  }

  get sessionId(): string {
    return this.#task.sessionId
  }

  /** Number of the last event that has gone out. */
  get written(): number {
    return this.#written
  }

  /** Id of the last event that Redis has, or ''. */
  get lastId(): string {
    return this.#lastId
  }

  /** Why the task ended as CANCELLED although another end was asked for, if it did. */
  get cancel(): CancelRequest | undefined {
    return this.#cancel
  }

  /** True if the task's entry was acked and deleted with its end. */
  get hasSettled(): boolean {
    return this.#hasSettled
  }

  /** True if chunks are joined. */
  get joins(): boolean {
    return this.#coalesceMs > 0
  }

  /** True if Redis has all that was put, what waits behind a shut door aside. */
  get isDrained(): boolean {
    return !this.#isSending && this.#queue.length === 0
  }

  /** Resolves when that is so. @throws GatewayError like {@link put}. */
  async drained(): Promise<void> {
    while (!this.isDrained) await this.turn()
    this.check()
  }

  /** Resolves when it is drained once more, or {@link goOn} was called while it was. */
  turn(): Promise<void> {
    this.#turn ??= deferred()
    return this.#turn.promise
  }

  /** @throws GatewayError why nothing goes out any more. */
  check(): void {
    if (this.#closed !== undefined) throw this.#closed
  }

  /** Why nothing more can be put, if so. */
  refusal(): GatewayError | undefined {
    if (this.#hasEnded) this.#closed ??= this.ended()
    return this.#closed
  }

  /** What whoever speaks after the end is told. */
  ended(): GatewayError {
    return new GatewayError('GW_CLOSED', { what: `task ${this.#task.messageId}` })
  }

  /** Resolves when Redis has the event. An end is the last that can be put. */
  put(pending: Pending): Promise<void> {
    if (pending.end !== undefined) this.#close()
    if (this.#isShut) {
      this.#behind.push(pending)
    } else {
      this.#queue.push(pending)
      if (!this.#isSending) this.#send()
    }
    return pending.settled.promise
  }

  /** Whoever is told of a loss hears of it by his end, and is not held until that is there. */
  #close(): void {
    this.#hasEnded = true
    this.#onLost = nobody
  }

  /** Says a chunk together with others of its sort that wait, or soon, so that others may come. */
  join(sort: string, text: string, make: () => JoinedChunks): Promise<void> {
    const last = this.#queue.at(-1)
    if (last instanceof JoinedChunks && last.add(sort, text)) return last.settled.promise
    const joined = make()
    joined.add(sort, text)
    this.#queue.push(joined)
    if (!this.#isSending) this.#joining ??= setTimeout(() => this.#send(), this.#coalesceMs)
    return joined.settled.promise
  }

  /** What is put from now on waits, until {@link open}, behind what {@link slip} brings. */
  shut(): void {
    this.#isShut = true
  }

  /** Takes events in although it is shut. */
  slip(events: readonly Pending[]): void {
    this.#queue.push(...events)
    this.goOn()
  }

  open(): void {
    this.#isShut = false
    this.#queue.push(...this.#behind.splice(0))
  }

  /** Sends what waits; wakes those who wait for it to be drained, to let them look at their state. */
  goOn(): void {
    if (this.#queue.length > 0 && !this.#isSending) this.#send()
    if (!this.isDrained) return
    this.#turn?.resolve()
    this.#turn = undefined
  }

  /** Nothing goes out any more; whoever waits for something hears why. */
  fail(error: unknown): void {
    this.#fail([], error)
  }

  #send(): void {
    clearTimeout(this.#joining)
    this.#joining = undefined
    if (this.#isSending || this.#queue.length === 0) return
    this.#isSending = true
    this.#writer.put(this, this)
  }

  /** Only for the {@link DataWriter}. */
  take(): Commit {
    const batch = takeBatch(this.#queue)
    this.#batch = batch
    const first = this.#written + 1
    this.#written += batch.length
    const sum = this.#speaker.leaving(batch, this.#written)
    return new Words(this.#task, { first, batch, lastId: this.#lastId, sum })
  }

  /** Only for the {@link DataWriter}. */
  resolve(answer: CommitAnswer): void {
    this.#settle(this.#batch, answer)
  }

  /** Only for the {@link DataWriter}. */
  reject(error: unknown): void {
    this.#fail(this.#batch, error)
  }

  #settle(batch: readonly Pending[], answer: CommitAnswer): void {
    if (!answer.ok) {
      if (answer.cancel === undefined) this.#lose(answer.holder, batch)
      else this.#endCancelled(batch, answer.cancel)
    } else if (answer.tells === undefined) {
      this.#lastId = answer.lastId || this.#lastId
      this.#hasSettled = answer.isSettled ?? false
      this.#done(batch)
    } else {
      // Only then the control entry may go: whoever takes it again tells again.
      this.#writer.tell(answer.tells).then(
        () => this.#done(batch),
        (error: unknown) => this.#fail(batch, error),
      )
    }
  }

  #done(batch: readonly Pending[]): void {
    for (const { settled } of batch) settled.resolve()
    this.#isSending = false
    this.goOn()
  }

  #lose(holder: string, batch: readonly Pending[]): void {
    const { messageId } = this.#task
    this.#fail(batch, new GatewayError('GW_LEASE_LOST', { messageId, holder: holder || 'nobody' }))
    this.#onLost(holder)
  }

  /** The last batch was refused, because the task was cancelled meanwhile: it goes again with the end that is due. */
  #endCancelled(batch: readonly Pending[], cancel: CancelRequest): void {
    const { settled, end: asked } = batch.at(-1) as Pending
    const done = cancelledDone(cancel.reason)
    const fields = { error: JSON.stringify(done.error) }
    const end = { fence: endedFence(this.#task.fence, 'CANCELLED'), fields, control: asked?.control }
    const json = this.#speaker.encode(done)
    this.#cancel = cancel
    this.#written -= batch.length
    this.#queue.unshift(...batch.slice(0, -1), { json, length: json.length, counted: undefined, end, settled })
    this.#isSending = false
    this.#send()
  }

  #fail(batch: readonly Pending[], error: unknown): void {
    const reason =
      error instanceof GatewayError
        ? error
        : new GatewayError('GW_REDIS_FAILED', { operation: 'an emit', reason: errorMessage(error) }, { cause: error })
    this.#closed = reason
    const rest = [...this.#queue, ...this.#behind.splice(0)]
    this.#queue = []
    for (const pending of [...batch, ...rest]) refuse(pending, reason)
    this.#isSending = false
    this.goOn()
  }
}

function nobody(): void {
  // The end tells whoever asked for it.
}

function ignore(): void {
  // A handler need not await each emit: the refusal reaches it by its signal, and the executor by `end`.
}

function refuse({ settled, end }: Pending, reason: GatewayError): void {
  if (end === undefined) settled.promise.catch(ignore)
  settled.reject(reason)
}
