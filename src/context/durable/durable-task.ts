import type { AsyncLocalStorage } from 'node:async_hooks'
import type { Canceller } from '../../dispatch/canceller.ts'
import { GatewayError, NonDeterminismError } from '../../errors.ts'
import type { Logger } from '../../logger.ts'
import type { TaskPlugins } from '../../plugins/task-plugins.ts'
import type { EventBody } from '../../protocol/event.ts'
import type { MessageHeader } from '../../protocol/header.ts'
import type { TaskRef } from '../../protocol/ids.ts'
import type { Agenda } from '../../store/agenda.ts'
import type { CancelRequest } from '../../store/cancel-request.ts'
import type { DataReader } from '../../store/data-reader.ts'
import type { InboxWriter } from '../../store/inbox.ts'
import type { NoteAnswer, Refusal } from '../../store/journal-notes.ts'
import type { Journals } from '../../store/journals.ts'
import type { RecordedResult } from '../../store/recorded-result.ts'
import type { Emitter, Ownership } from '../emitter.ts'
import type { TaskSignal } from '../task-signal.ts'
import { fingerprint } from './args.ts'
import { Deadlines } from './deadlines.ts'
import { type Doubt, Doubts } from './doubts.ts'
import type { Journal, Operation } from './journal.ts'
import { type ParkedTask, Parking, type ParkingOptions } from './parking.ts'
import { Results, type ResultsOwner } from './results.ts'
import { Scope } from './scope.ts'
import type { Seat } from './seat.ts'
import type { WaitDesk, WaitingTask } from './wait-desk.ts'
import type { WaitKind, Waits } from './waits.ts'

/** What the durable operations of a worker share. */
export interface DurableResources {
  readonly journals: Journals
  readonly desk: WaitDesk<DurableTask>
  readonly canceller: Canceller
  readonly agenda: Agenda
  readonly inboxes: InboxWriter
  readonly reader: DataReader
  /** Where a call comes from. */
  readonly scopes: AsyncLocalStorage<Scope>
  readonly suspendAfterMs: number
  readonly maxPayloadBytes: number
  readonly streamTtlMs: number
  readonly streamMaxLength: number
}

/** What an attempt hears of its durable operations. */
export interface DurableHooks {
  onLost(holder: string): void
  onCancelled(cancel: CancelRequest): void
  onNonDeterminism(error: NonDeterminismError): void
  /** The task is parked: this attempt is over. */
  onParked(): void
}

export interface DurableTaskOptions extends ParkingOptions {
  readonly resources: DurableResources
  readonly header: MessageHeader
  readonly agentType: string
  readonly ownership: Ownership
  readonly emitter: Emitter
  readonly signal: TaskSignal
  readonly seat: Seat
  readonly logger: () => Logger
  readonly hooks: DurableHooks
  readonly journal: Journal
  /** Which of the task's lives this is; see `BeginAnswer`. */
  readonly life: number
  /** How often the journal was dropped in it. */
  readonly restarts: number
  /** Undefined where there are none. */
  readonly plugins?: TaskPlugins | undefined
}

/**
 * The durable side of one attempt: keeps its journal, lets it wait for results, and lets itself be parked while it does
 * nothing but wait. Made when the handler first calls, so that others do not pay for it.
 */
export class DurableTask implements WaitingTask, ResultsOwner, ParkedTask {
  readonly resources: DurableResources
  readonly header: MessageHeader
  readonly agentType: string
  readonly emitter: Emitter
  readonly journal: Journal
  /** The scope of the handler itself. */
  readonly root: Scope
  /** What was decided of changes in place; see patches.ts. */
  readonly patches = new Map<string, Promise<boolean>>()
  /** The questions that wait for their answers, by their ids: whatever takes them back puts them again. */
  readonly questions = new Map<string, EventBody & { type: 'ask_user' }>()
  readonly deadlines = new Deadlines(this)
  readonly results: Results
  readonly #options: DurableTaskOptions
  readonly #life: string
  readonly #waits: Waits
  readonly #doubts = new Doubts()
  readonly #parking: Parking

  constructor(options: DurableTaskOptions) {
    this.#options = options
    this.resources = options.resources
    this.header = options.header
    this.agentType = options.agentType
    this.emitter = options.emitter
    this.journal = options.journal
    this.results = new Results(this, options.seat)
    this.#waits = this.results.waits
    this.#parking = new Parking(this, options)
    this.#life = options.life === 0 ? '' : `@${options.life}`
    // In another life, and after a restart, the operations have names of their own: they call other tasks, and no late
    // result of an old one is taken for theirs.
    this.root = new Scope(this, `${this.#life}${options.restarts === 0 ? '' : `!${options.restarts}`}`, undefined)
    options.signal.onAbort((reason) => this.#abort(reason))
  }

  get ref(): TaskRef & { readonly fence: string } {
    const { sessionId, messageId } = this.header
    return { sessionId, messageId, fence: this.#options.ownership.fence }
  }

  /** True if nothing that this attempt waits for matters any more. */
  get isOver(): boolean {
    return this.results.isOver
  }

  /** True if the attempt is over, or its handler has been told to come to its end. */
  get isBrokenOff(): boolean {
    return this.isOver || this.#options.signal.reason !== undefined
  }

  get logger(): Logger {
    return this.#options.logger()
  }

  /** Undefined where there are none. */
  get plugins(): TaskPlugins | undefined {
    return this.#options.plugins
  }

  get attempt(): number {
    return this.#options.ownership.attempt
  }

  /** Where the running code stands: in the handler itself, or in a step. */
  get scope(): Scope {
    const scope = this.resources.scopes.getStore()
    return scope?.task === this ? scope : this.root
  }

  /** The running code's place as it is called in each of the task's lives. */
  get place(): string {
    return this.scope.key.slice(this.#life.length)
  }

  /**
   * The operation that the handler asks for now. Must be called before anything is awaited.
   *
   * @param args - With the members of objects in the order of their names, which spares their digest a second text.
   * @throws the signal's reason when it is aborted, GatewayError `GW_CLOSED` when the attempt is over: its end may not be
   * recorded yet, so that the operation would still be carried out, for nobody.
   */
  claim(kind: string, name: string, args: unknown, scope = this.scope): Operation {
    this.throwIfAborted()
    if (this.isOver) throw this.#closed()
    const ordinal = scope.next(kind, name)
    return this.journal.claim({ scope: scope.key, kind, name, ordinal, ...fingerprint(args) })
  }

  /**
   * Resolves when it is certain that an operation is a new one; while the task is {@link working} for it.
   *
   * @throws NonDeterminismError when it stands in the place of another.
   */
  async settle(doubt: Doubt): Promise<void> {
    const isAsked = () => this.journal.isAsked(doubt.place)
    const isAtRest = () => {
      this.throwIfAborted()
      if (this.isOver) throw this.#closed()
      const { places } = this.#doubts
      // The steps in whose bodies they are wait for them.
      const around = new Set([...places].flatMap((place) => this.journal.stepsAround(place)))
      return this.#parking.isAtRest(places.size + around.size)
    }
    try {
      await this.#doubts.resolve(doubt, isAsked, isAtRest)
    } catch (error) {
      if (error instanceof NonDeterminismError) this.#options.hooks.onNonDeterminism(error)
      throw error
    }
  }

  #closed(): GatewayError {
    return new GatewayError('GW_CLOSED', { what: `task ${this.header.messageId}` })
  }

  throwIfAborted(): void {
    const { reason } = this.#options.signal
    if (reason !== undefined) throw reason
  }

  /**
   * The result of an operation that somebody else completes: the recorded one, or the one that comes.
   *
   * @param open - Notes the operation.
   */
  async outcome(op: Operation, kind: WaitKind, open: () => Promise<NoteAnswer>): Promise<RecordedResult> {
    if (op.result !== undefined) return this.results.recorded(op.key, op.result)
    if (this.isOver) throw this.#closed()
    const forget = this.results.expect(op.key)
    this.resources.desk.add(this)
    const done = this.working()
    try {
      let text: string
      try {
        if (op.doubt !== undefined) await this.settle(op.doubt)
        text = this.noted(await open())
        // A cancel may have come while it was noted.
        this.throwIfAborted()
      } finally {
        // From here to the wait nothing is awaited: the task would look as if it did not wait for this.
        done()
      }
      if (text !== '') this.hear(op.key, text)
      return await this.#waits.result(op.key, kind)
    } finally {
      forget()
      if (this.#waits.all.length === 0) this.resources.desk.remove(this)
    }
  }

  /** The result that an answer to a note holds, or ''. */
  noted(answer: NoteAnswer): string {
    if (answer.status === 'noted') return answer.text
    throw this.refused(answer)
  }

  /** While it has not been called back the task is not parked. */
  working(): () => void {
    return this.#parking.working()
  }

  /** See `AgentContext.onSuspend`. */
  onSuspend(callback: () => void | Promise<void>): void {
    this.#parking.onSuspend(callback)
  }

  hear(op: string, text: string): void {
    this.results.hear(op, text)
  }

  /** Looks what has come of all that it waits for, in case that it was not told. */
  async look(): Promise<void> {
    await this.results.look()
  }

  /** For how long the task has waited, in ms; 0 if it does not, or does something else as well. */
  get waitedMs(): number {
    return this.#waits.size === 0 ? 0 : performance.now() - this.#waits.oldest
  }

  /** See {@link Parking}. */
  get canPark(): boolean {
    return this.#parking.canPark
  }

  /** See {@link Parking}. */
  park(): Promise<void> {
    return this.#parking.park()
  }

  /** The attempt is over, whatever it waited for. */
  end(): void {
    this.results.end()
    this.deadlines.end()
    this.resources.desk.remove(this)
  }

  left(): void {
    this.end()
    this.#options.hooks.onParked()
  }

  /** What a refused call means for the attempt, as an error for whoever called. */
  refused(refusal: Refusal): unknown {
    const { hooks, signal } = this.#options
    if (refusal.status === 'cancelled') hooks.onCancelled(refusal.cancel)
    else hooks.onLost(refusal.holder)
    const { messageId } = this.header
    return signal.reason ?? new GatewayError('GW_LEASE_LOST', { messageId, holder: 'nobody' })
  }

  /** Who is cancelled or late hears it at his await; a task that somebody else goes on with hears nothing more. */
  #abort(reason: GatewayError): void {
    if (reason.code === 'GW_CANCELLED' || reason.code === 'GW_TASK_TIMEOUT') this.#waits.reject(reason)
    else this.end()
  }
}
