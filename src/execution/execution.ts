import type { AgentContext } from '../agent/context.ts'
import type { AgentContract } from '../agent/contract.ts'
import type { GatewayWorker } from '../agent/worker.ts'
import { type DurableResources, DurableTask } from '../context/durable/durable-task.ts'
import type { Journal } from '../context/durable/journal.ts'
import { NO_SEAT, type Seat } from '../context/durable/seat.ts'
import { Emitter } from '../context/emitter.ts'
import { type ContextResources, TaskContext } from '../context/task-context.ts'
import { TaskSignal } from '../context/task-signal.ts'
import { GatewayError } from '../errors.ts'
import type { PluginSource } from '../plugins/registry.ts'
import type { PluginSnapshot } from '../plugins/snapshot.ts'
import { TaskPlugins } from '../plugins/task-plugins.ts'
import { DATA_FIELD } from '../protocol/codec.ts'
import { AskAgentCommand, type CommandContent, type GatewayCommand } from '../protocol/command.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { entryField } from '../redis/streams.ts'
import type { CancelRequest } from '../store/cancel-request.ts'
import type { DataWriter } from '../store/data-writer.ts'
import { isCancelled, isEnded, suspendedFence } from '../store/fence.ts'
import type { Placed } from '../util/bag.ts'
import type { Assignment } from './assignment.ts'
import type { Conclusion } from './conclusion.ts'
import { checkInput, checkResult } from './contract-check.ts'
import type { Ending, How } from './ending.ts'
import { brokenOff, completed, failed, type Outcome } from './outcome.ts'
import { tellEnd } from './plugin-end.ts'
import { TaskMemory } from './task-memory.ts'

/** A task whose handler never does the same twice is not started afresh for ever. */
const MOST_RESTARTS = 3

/** What all executions of a worker share. */
export interface ExecutionResources extends ContextResources {
  readonly worker: GatewayWorker
  readonly contracts: ReadonlyMap<string, AgentContract>
  readonly writer: DataWriter
  readonly conclusion: Conclusion
  readonly maxPayloadBytes: number
  readonly taskTimeoutMs: number | undefined
  /** How long a cancelled handler may take to come to its end, in ms. */
  readonly cancelGraceMs: number
  /** See `Emitter`. */
  readonly coalesceMs?: number
  readonly durable: DurableResources
  readonly onNonDeterminism: 'fail' | 'restart'
  /** Undefined where there are none. */
  readonly plugins?: PluginSource
}

/**
 * One attempt of one task: context → contract → handler → outcome → conclusion. It settles once, whatever the handler
 * does: with the handler's outcome, or with the reason of an abort that needs no handler (time is up, ownership lost,
 * worker leaves, cancelled by force). A graceful cancel only aborts the signal; the handler then decides when it ends, as
 * long as that is soon, but not how.
 */
export class Execution implements Placed {
  readonly assignment: Assignment
  place = -1
  readonly #resources: ExecutionResources
  readonly #signal = new TaskSignal()
  readonly #emitter: Emitter
  readonly #context: TaskContext
  readonly #seat: Seat
  /** Undefined where there are none. */
  readonly #plugins: TaskPlugins | undefined
  #memory: TaskMemory | undefined
  #cancel: CancelRequest | null
  /** The handler called something else than before, and is to start afresh. */
  #diverged: GatewayError | undefined
  #settle: ((outcome: Outcome) => void) | undefined
  /** Runs from a graceful cancel on. */
  #grace: NodeJS.Timeout | undefined
  /** The handler has come to its end; what happens from now on is the conclusion's affair. */
  #isOver = false

  constructor(resources: ExecutionResources, assignment: Assignment, seat: Seat = NO_SEAT) {
    this.#resources = resources
    this.assignment = assignment
    this.#cancel = assignment.cancel
    this.#seat = seat
    const { header, agentType, ownership } = assignment
    const { writer, coalesceMs } = resources
    const onLost = (holder: string) => this.lose(holder)
    this.#emitter = new Emitter({ writer, header, agentType, ownership, onLost, coalesceMs })
    const emitter = this.#emitter
    const makeDurable = (journal: Journal) => this.#makeDurable(journal)
    const signal = this.#signal
    const snapshot = resources.plugins?.current ?? null
    const plugins = snapshot === null ? undefined : openPlugins(snapshot, assignment, resources.workerId)
    this.#plugins = plugins
    this.#context = new TaskContext({ resources, header, agentType, ownership, emitter, signal, plugins, makeDurable })
  }

  get ref(): TaskRef & { readonly fence: string } {
    const { header, ownership } = this.assignment
    return { sessionId: header.sessionId, messageId: header.messageId, fence: ownership.fence }
  }

  /** Aborts the handler's signal and stops waiting for the handler. */
  abort(reason: GatewayError): void {
    if (this.#isOver) return
    this.#signal.abort(reason)
    this.#settle?.(brokenOff(reason))
  }

  /** Why the attempt was aborted, if it was. */
  get abortReason(): GatewayError | undefined {
    return this.#signal.reason
  }

  /** Aborts the handler's signal; the task ends as CANCELLED when the handler comes to its end, or takes too long for that. */
  cancel(request: CancelRequest): void {
    if (this.#isOver) return
    this.#cancel ??= request
    const { reason } = this.#cancel
    this.#signal.abort(cancelledError(this.#cancel))
    this.#grace ??= setTimeout(() => {
      this.#context.logger.warn({}, 'the handler goes on although its task was cancelled: the task ends without it')
      this.#settle?.({ status: 'CANCELLED', reason })
    }, this.#resources.cancelGraceMs)
  }

  /**
   * Somebody else owns the task now, or has ended it: nothing this attempt still writes counts.
   *
   * @param holder - The ownership that holds now, '' if there is no record any more.
   */
  lose(holder: string): void {
    if (this.#isOver) return
    const { messageId, fence } = this.ref
    if (holder === suspendedFence(fence)) {
      // Parked by this very attempt, which is about to hear of it.
      this.#settle?.({ status: 'SUSPENDED' })
      return
    }
    const lost = new GatewayError('GW_LEASE_LOST', { messageId, holder: holder || 'nobody' })
    // Only an end of this very attempt makes its entry ours to ack; any other belongs to whoever took the task over.
    if (!isEnded(holder) || holder.slice(1) !== fence.slice(1)) {
      this.abort(lost)
      return
    }
    const cancel = this.#cancel ?? { reason: 'by force', requestedBy: '' }
    this.#signal.abort(isCancelled(holder) ? cancelledError(cancel) : lost)
    this.#settle?.({ status: 'FINISHED', fence: holder })
  }

  /** Resolves when the handler has come to its end and that is being recorded. */
  async run(): Promise<Ending> {
    const handled = this.#final(await this.#attempt())
    this.#isOver = true
    clearTimeout(this.#grace)
    const context = this.#context
    context.durable?.end()
    context.handled()
    const isDiverged = this.#diverged !== undefined && handled.status === 'FAILED'
    const outcome = isDiverged ? await this.#restart(this.#diverged as GatewayError) : handled
    const how = this.#resources.conclusion.draw({
      outcome,
      assignment: this.assignment,
      emitter: this.#emitter,
      memory: this.#memory,
      context,
      abortReason: this.abortReason,
    })
    return { how: this.#isTidy ? how : this.#tidy(outcome, how) }
  }

  /** Nothing is left behind that somebody has to see to when the end is recorded. */
  get #isTidy(): boolean {
    const { durable, hasWorkspace } = this.#context
    return this.#plugins === undefined && durable === undefined && !hasWorkspace && !this.#expires
  }

  get #expires(): boolean {
    return this.assignment.header.options?.expiresInMs !== undefined
  }

  async #tidy(outcome: Outcome, closing: Promise<How>): Promise<How> {
    const how = await closing
    const closed = how === 'settled' || how === 'ended'
    const emitter = this.#emitter
    try {
      if (this.#plugins !== undefined) tellEnd(this.#plugins, outcome, { closed, emitter })
      if (closed && outcome.status !== 'SUSPENDED' && !emitter.wasParked) this.#strikeOut()
      if (this.#context.hasWorkspace) await this.#dispose()
    } finally {
      this.release()
    }
    return how
  }

  /** What was to happen at a later time to the task, which has its end. */
  #strikeOut(): void {
    const { sessionId, messageId } = this.assignment.header
    const expiry = this.#expires
    const ops = this.#context.durable?.deadlines.listed ?? []
    if (!expiry && ops.length === 0) return
    const { agenda } = this.#resources.durable
    agenda.strikeOut({ sessionId, messageId }, { ops, expiry }).catch((error: unknown) => {
      this.#context.logger.debug({ err: error }, 'appointments of a task stay on the agenda until they are due')
    })
  }

  /** A folder that cannot be removed, because a program that was left behind writes there, is no affair of the task's. */
  async #dispose(): Promise<void> {
    try {
      await this.#context.dispose()
    } catch (error) {
      this.#context.logger.warn({ err: error }, 'the workspace of a task was not removed')
    }
  }

  /** The attempt needs its plugins no longer. */
  release(): void {
    this.#plugins?.leave()
  }

  #attempt(): Promise<Outcome> | Outcome {
    if (this.#cancel !== null) return { status: 'CANCELLED', reason: this.#cancel.reason }
    if (this.assignment.isExpired) return { status: 'EXPIRED' }
    const { maxPayloadBytes } = this.#resources
    const timeoutMs = this.assignment.header.options?.timeoutMs ?? this.#resources.taskTimeoutMs
    return new Promise((resolve) => {
      const settle = timeoutMs === undefined ? resolve : this.#inTime(timeoutMs, resolve)
      this.#settle = settle
      this.#process().then(
        (result) => settle(completed(result, maxPayloadBytes)),
        (error: unknown) => settle(failed(error)),
      )
    })
  }

  /** What was cancelled ends so, even if its handler has gone on to another end. */
  #final(outcome: Outcome): Outcome {
    const isHandlers = outcome.status === 'COMPLETED' || outcome.status === 'FAILED'
    return this.#cancel !== null && isHandlers ? { status: 'CANCELLED', reason: this.#cancel.reason } : outcome
  }

  #makeDurable(journal: Journal): DurableTask {
    const { header, agentType, ownership, entry, life, replay } = this.assignment
    const context = this.#context
    return new DurableTask({
      ...{ resources: this.#resources.durable, header, agentType, ownership, journal },
      ...{ emitter: this.#emitter, signal: this.#signal, seat: this.#seat, plugins: this.#plugins },
      ...{ priority: entry.stream.priority, data: entryField(entry.raw, DATA_FIELD) ?? '' },
      ...{ life, restarts: replay?.restarts ?? 0 },
      logger: () => context.logger,
      isBusy: () => context.isBusy,
      hooks: {
        onLost: (holder) => this.lose(holder),
        onCancelled: (request) => this.cancel(request),
        onNonDeterminism: (error) => this.#onNonDeterminism(error),
        onParked: () => this.#settle?.({ status: 'SUSPENDED' }),
      },
    })
  }

  /** The handler may catch the error; the attempt is over all the same. */
  #onNonDeterminism(error: GatewayError): void {
    if (this.#resources.onNonDeterminism === 'restart') this.#diverged = error
    this.#signal.abort(error)
    this.#settle?.(failed(error))
  }

  /** Lets the task start afresh, without what was recorded; not for ever. */
  async #restart(error: GatewayError): Promise<Outcome> {
    const { logger } = this.#context
    try {
      const times = await this.#resources.durable.journals.drop(this.ref)
      if (times !== null) this.#context.cancelCalls()
      if (times !== null && times > MOST_RESTARTS) return failed(error)
      logger.warn({ reason: error.message }, 'the task is started afresh')
    } catch (cause) {
      logger.warn({ err: cause }, 'what was recorded could not be dropped, the task is left to another worker')
    }
    return { status: 'RELINQUISHED', reason: error }
  }

  #inTime(timeoutMs: number, resolve: (outcome: Outcome) => void): (outcome: Outcome) => void {
    const timer = setTimeout(() => this.abort(new GatewayError('GW_TASK_TIMEOUT', { timeoutMs })), timeoutMs)
    return (outcome) => {
      clearTimeout(timer)
      resolve(outcome)
    }
  }

  async #process(): Promise<unknown> {
    const { command, agentType } = this.assignment
    if (command instanceof GatewayError) throw command
    if (this.assignment.replay === null) this.#emitter.rewind()
    else await this.#context.replay(this.assignment.replay)
    const { history } = this.#resources
    if (history !== undefined && TaskMemory.isWanted(this.assignment)) {
      this.#memory = new TaskMemory(history, this.assignment, this.#context)
    }
    this.#plugins?.started(contentIn(command), this.assignment.replay !== null)
    const contract = this.#resources.contracts.get(agentType)
    if (contract === undefined) return this.#handle(command)
    return checkResult(contract, await this.#handle(await checkInput(contract, command)))
  }

  #handle(command: GatewayCommand): Promise<unknown> {
    const { worker } = this.#resources
    const context = this.#context
    if (this.#plugins === undefined) return worker.processCommand(command, context)
    const handle = (input: { command: GatewayCommand; context: AgentContext }) =>
      worker.processCommand(input.command, input.context)
    return this.#plugins.run({ command, context }, handle)
  }
}

function openPlugins(snapshot: PluginSnapshot, assignment: Assignment, workerId: string): TaskPlugins {
  const { header, agentType, ownership } = assignment
  return new TaskPlugins(snapshot, { header, agentType, attempt: ownership.attempt, workerId })
}

function cancelledError({ reason, requestedBy }: CancelRequest): GatewayError {
  return new GatewayError('GW_CANCELLED', { reason: reason || 'no reason given', requestedBy })
}

function contentIn(command: GatewayCommand): CommandContent | undefined {
  return command instanceof AskAgentCommand ? command.content : undefined
}
