import type { GatewayError } from '../errors.ts'
import type { CompletedEvent, EventBody } from '../protocol/event.ts'
import type { MessageHeader } from '../protocol/header.ts'
import type { Replay } from '../store/begin-answer.ts'
import type { CommitEnd, DataWriter } from '../store/data-writer.ts'
import { endedFence, parkedFence } from '../store/fence.ts'
import { Attended } from '../util/attended.ts'
import { codingFault, EventCoder, isHandlers } from './event-coder.ts'
import { type Held, HoldBack, type Said } from './hold-back.ts'
import { Outbox, type Speaker } from './outbox.ts'
import { JoinedChunks, type Pending, Utterance } from './pending.ts'
import { Rewrites } from './rewrites.ts'
import { Sum } from './sum.ts'
import { TaskText } from './task-text.ts'

/** Ownership of a task by one attempt, as far as writing needs it. */
export interface Ownership {
  readonly fence: string
  readonly attempt: number
  /** Events that earlier attempts of the task have written. */
  readonly written: number
}

type Done = (EventBody & { type: 'done' }) | CompletedEvent

/** A sum that no other is equal to. */
const UNKNOWN = '-'

/** Reads what a recorded step has said back from the stream. */
export type RestoreStep = (op: string) => Promise<readonly Said[]>

/** What a replay knows besides of what its task has said. */
export interface Retelling {
  readonly restore: RestoreStep
  /** Earlier runs have recorded steps that said something. */
  readonly hasStepTexts: boolean
  /** The questions that wait for their answers. */
  readonly questions: () => Iterable<EventBody>
}

/**
 * What one attempt says, in order; how it gets to Redis is the {@link Outbox}'s affair.
 *
 * The handler's own words, those inside of steps aside, make up the sum that the record keeps beside the number of
 * events. An attempt that repeats an earlier run of the same attempt holds its words back until it has said as much: see
 * {@link HoldBack}. If they differ, all is taken back by a `rewind` and said again.
 */
export class Emitter implements Speaker {
  /** What this attempt has said. */
  readonly text = new TaskText()
  readonly #outbox: Outbox
  #rewrites: Rewrites | undefined
  readonly #ownership: Ownership
  readonly #coder: EventCoder
  readonly #sum = new Sum()
  #isSummed = false
  #holdBack: HoldBack | undefined
  #isAfresh = true
  #restore: RestoreStep = restoreNothing
  #questions: () => Iterable<EventBody> = noQuestions
  /** Earlier runs have recorded steps that said something. */
  #hasStepTexts = false
  /** Events on their way here, through interceptors. */
  #coming = 0
  #wasParked = false
  /** The handler has come to its end. */
  #isSilent = false

  constructor(options: {
    writer: DataWriter
    header: MessageHeader
    agentType: string
    ownership: Ownership
    /** Told once when a write was refused because the attempt does not own its task any more. */
    onLost: (holder: string) => void
    /** Chunks that are said within so many ms become one event. Default 0: each is one. */
    coalesceMs?: number
    /** Largest event of the handler's, as it is written. Default 16 MiB. */
    maxBytes?: number
  }) {
    const { writer, header, agentType, ownership, onLost, coalesceMs = 0 } = options
    this.#ownership = ownership
    this.#coder = new EventCoder(header, { agentType, attempt: ownership.attempt, maxBytes: options.maxBytes })
    const task = { sessionId: header.sessionId, messageId: header.messageId, fence: ownership.fence }
    this.#outbox = new Outbox({ writer, task, speaker: this, written: ownership.written, onLost, coalesceMs })
  }

  /** Takes back what earlier attempts have said, if they did: this one speaks afresh. */
  rewind(): void {
    if (this.#ownership.written > 0) void this.#say({ type: 'rewind', toId: '0-0' })
  }

  /** Goes on from where an earlier run of the same attempt ended, if that is known; else like {@link rewind}. */
  resume({ sum }: Replay, { restore, hasStepTexts, questions }: Retelling): void {
    this.#isSummed = true
    this.#restore = restore
    this.#hasStepTexts = hasStepTexts
    this.#questions = questions
    const [written, text = ''] = sum.split(':')
    const target = Number(written) === this.#ownership.written ? Sum.parse(text) : null
    if (target === null) {
      this.rewind()
      return
    }
    this.#isAfresh = false
    if (target.count > 0) this.#holdBack = new HoldBack(target)
    this.#sum.set(target)
  }

  /** True if nothing that earlier runs have said counts any more. */
  get isAfresh(): boolean {
    return this.#isAfresh
  }

  /** A recorded step was passed; true if what it said is on the stream, and counts, or will be put there. */
  pass(op: string): boolean {
    this.text.miss()
    this.#holdBack?.items.push({ passed: op })
    return this.#holdBack !== undefined || !this.#isAfresh
  }

  /** Ends the holding back: what comes now is new, so what was held back differs from what was said before. */
  release(): void {
    if (this.#holdBack !== undefined) this.#diverge(this.#holdBack.items)
  }

  /**
   * What the handler has said until now, for the record of an operation; '' while not all of it is written. From then on
   * each commit tells it, too.
   */
  sum(): string {
    this.#isSummed = true
    return this.isIdle && this.#holdBack === undefined ? this.#sumAt(this.#outbox.written) : ''
  }

  /** True if Redis has all that was said. */
  get isIdle(): boolean {
    return this.#outbox.isDrained && this.#rewrites?.isUnderWay !== true && this.#coming === 0
  }

  /** True as long as the handler has said no more than an earlier run. */
  get isHoldingBack(): boolean {
    return this.#holdBack !== undefined
  }

  /** An event is on its way here: until what this answers is called, not all is said. */
  expect(): () => void {
    this.#coming += 1
    return () => {
      this.#coming -= 1
      this.#outbox.goOn()
    }
  }

  /** True while events are on their way here. */
  get isExpecting(): boolean {
    return this.#coming > 0
  }

  /** Resolves when all that was on its way has come. */
  async arrived(): Promise<void> {
    while (this.#coming > 0) await this.#outbox.turn()
  }

  /** Id of the last event that this attempt has written, or ''. */
  get lastId(): string {
    return this.#outbox.lastId
  }

  /**
   * Resolves when Redis has all that was said until now.
   *
   * @throws GatewayError like an emit.
   */
  async flushed(): Promise<void> {
    while (!this.isIdle) await this.#outbox.turn()
    this.#outbox.check()
  }

  /** See {@link Rewrites.run}. */
  rewrite(make: () => Promise<readonly Said[]>): Promise<void> {
    this.#rewrites ??= new Rewrites(this.#outbox, (said) => this.#pend(said))
    return this.#rewrites.run(make)
  }

  /** True if the task ended as CANCELLED although another end was asked for. */
  get wasCancelled(): boolean {
    return this.#outbox.cancel !== undefined
  }

  /** True for the error that closed it: nothing more of this task can be said here. */
  isClosedBy(error: unknown): boolean {
    return error === this.#outbox.refusal()
  }

  /** Why the task was cancelled, if {@link wasCancelled}. */
  get cancelReason(): string {
    return this.#outbox.cancel?.reason ?? ''
  }

  /** True if the attempt failed and the task was left to its next one. */
  get wasParked(): boolean {
    return this.#wasParked && !this.wasCancelled
  }

  /** True if the task's entry was acked and deleted with its end. */
  get hasSettled(): boolean {
    return this.#outbox.hasSettled
  }

  /**
   * The handler has come to its end: what it says from now on is refused, so that its answer, the stream and the history
   * hold the same words.
   */
  silence(): void {
    this.#isSilent = true
  }

  /**
   * Resolves when Redis has the event. It need not be awaited: what is refused at once answers an {@link Attended}.
   *
   * @param step - The step in whose body it is said.
   */
  emit(body: EventBody, metadata?: Record<string, unknown>, step?: string): Promise<void> {
    try {
      if (this.#isSilent && isHandlers(body)) throw this.#outbox.ended()
      if (this.#mayNotFit(body, metadata)) this.#coder.requireFit(body, metadata)
      const written = this.#utter(body, metadata, step)
      this.text.add(body)
      return written
    } catch (cause) {
      return refused(codingFault(body, cause))
    }
  }

  #utter(body: EventBody, metadata: Record<string, unknown> | undefined, step: string | undefined): Promise<void> {
    if (this.#holdBack === undefined) return this.#say(body, metadata, step)
    if (step === undefined && isHandlers(body)) return this.#hold(this.#holdBack, { body, metadata, step })
    this.release()
    return this.#say(body, metadata, step)
  }

  /**
   * Says the last word: the `done` event together with the task's end; nothing can be said after it. A task that was
   * cancelled meanwhile ends as CANCELLED instead. Unlike an emit, this must be awaited.
   *
   * @param control - The control stream whose entry is not needed once the task has its end; see {@link hasSettled}.
   * @throws GatewayError what cannot be said.
   */
  end(done: Done, fields: Record<string, string>, control?: string): Promise<void> {
    return this.#close(done, { fence: endedFence(this.#ownership.fence, done.status), fields, control })
  }

  /** Says why the attempt failed and leaves the task to its next one, due in `delayMs`; otherwise like {@link end}. */
  park(error: EventBody & { type: 'error' }, delayMs: number, fields: Record<string, string>): Promise<void> {
    this.#wasParked = true
    const due = { due_at: String(Math.ceil(delayMs)) }
    return this.#close(error, { fence: parkedFence(this.#ownership.fence), fields: { ...due, ...fields } })
  }

  /** Holds an event back; it counts as said, for an earlier run has said it or it will be. */
  #hold(holdBack: HoldBack, said: Said): Promise<void> {
    const found = holdBack.offer(said, countedText(said.body))
    if (found === 'same') this.#holdBack = undefined
    if (found === 'different') this.#diverge(holdBack.items)
    return Promise.resolve()
  }

  /** The handler says something else than the run before: all is taken back and said again. */
  #diverge(items: readonly Held[]): void {
    this.#holdBack = undefined
    this.#isAfresh = true
    this.#sum.reset()
    const rewritten = this.rewrite(async () => {
      const again = items.map((item) => ('passed' in item ? this.#restore(item.passed) : [item]))
      const said = (await Promise.all(again)).flat()
      const plain = (body: EventBody): Said => ({ body, metadata: undefined, step: undefined })
      return [plain({ type: 'rewind', toId: '0-0' }), ...said, ...[...this.#questions()].map(plain)]
    })
    rewritten.catch((error: unknown) => this.#outbox.fail(error))
  }

  #close(body: EventBody, end: CommitEnd): Promise<void> {
    try {
      this.release()
      return this.#say(body, undefined, undefined, end)
    } catch (cause) {
      throw codingFault(body, cause)
    }
  }

  /** @throws what refuses it at once. */
  #say(body: EventBody, metadata?: Record<string, unknown>, step?: string, end?: CommitEnd): Promise<void> {
    const refusal = this.#outbox.refusal()
    if (refusal !== undefined) throw refusal
    const isPlain = body.type === 'chunk' && metadata === undefined && this.#rewrites?.isUnderWay !== true
    if (isPlain && this.#outbox.joins) return this.#join(body, step)
    const pending = this.#pend({ body, metadata, step }, end)
    this.#coder.requireSize(body, pending.json)
    return this.#outbox.put(pending)
  }

  #join(body: EventBody & { type: 'chunk' }, step: string | undefined): Promise<void> {
    const sort = JSON.stringify([step, body.role])
    const about = step === undefined ? undefined : { step }
    const encode = (content: string) => this.encode({ ...body, content }, about)
    const counted = step === undefined ? (text: string) => countedChunk(text, body.role) : undefined
    const make = () => new JoinedChunks(sort, counted, encode, this.#coder.surelyFit)
    return this.#outbox.join(sort, body.content, make)
  }

  #pend({ body, metadata, step, isAgain }: Said, end?: CommitEnd): Pending {
    const about = step === undefined ? metadata : { ...metadata, step }
    const counts = step === undefined && !isAgain && isHandlers(body)
    const counted = counts ? countedText(body) : undefined
    return new Utterance(this.encode(body, about), counted, end)
  }

  /** What is not encoded at once has to be looked at before. */
  #mayNotFit(body: EventBody, metadata: Record<string, unknown> | undefined): boolean {
    if (body.type === 'chunk' && body.content.length > this.#coder.surelyFit) return true
    return this.#holdBack !== undefined && (body.type !== 'chunk' || metadata !== undefined)
  }

  encode(body: EventBody, about?: Record<string, unknown>): string {
    return this.#coder.encode(body, about)
  }

  leaving(batch: readonly Pending[], last: number): string | undefined {
    this.#rewrites?.leaving(batch.length)
    for (const { counted } of batch) this.#count(counted)
    return this.#isSummed ? this.#sumAt(last) : undefined
  }

  /**
   * Unknown while a rewrite is half written, and where all was taken back although steps had spoken: what of their words
   * is said again already cannot be told from a count.
   */
  #sumAt(written: number): string {
    const isUnknown = this.#rewrites?.isHalfWritten || (this.#isAfresh && this.#hasStepTexts)
    return isUnknown ? UNKNOWN : `${written}:${this.#sum}`
  }

  #count(counted: Pending['counted']): void {
    if (typeof counted === 'string') this.#sum.add(counted)
    else if (counted !== undefined) for (const text of counted) this.#sum.add(text)
  }
}

// Shared, since most tasks never come to need their own.
const restoreNothing: RestoreStep = async () => []
const noQuestions = (): readonly EventBody[] => []

/** No chunk looks like another event: those begin with a control character. */
function countedText(body: EventBody): string {
  return body.type === 'chunk' ? countedChunk(body.content, body.role) : `\0${body.type} ${JSON.stringify(body)}`
}

function countedChunk(content: string, role: string | undefined): string {
  return role === undefined ? content : `\0chunk ${JSON.stringify([role, content])}`
}

function refused(reason: GatewayError): Promise<void> {
  return Attended.of(Promise.reject(reason))
}
