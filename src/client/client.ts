import type { AgentContract, ContractResult } from '../agent/contract.ts'
import type { HistoryMessage, HistoryPage } from '../agent/history.ts'
import { Audit, type DiagnoseOptions, type Diagnosis } from '../audit/audit.ts'
import { Explainer } from '../audit/explain.ts'
import type { Explanation } from '../audit/explanation.ts'
import type { PendingAsk } from '../dispatch/asks.ts'
import type { SendAnswer } from '../dispatch/send.ts'
import { GatewayError } from '../errors.ts'
import type { GatewayCommand } from '../protocol/command.ts'
import { checkCapability, checkId, checkRef, type TaskRef } from '../protocol/ids.ts'
import type { DeadLetter } from '../store/dead-letter.ts'
import type { DeadLetterFilter } from '../store/dead-letter-filter.ts'
import { DEFAULT_GROUP } from '../store/defaults.ts'
import type { WorkerInfo } from '../store/presence.ts'
import type { QueueStats, QueueStatsOptions } from '../store/queues.ts'
import type { TaskInfo } from '../store/task-records.ts'
import type { TaskTree } from '../store/task-trees.ts'
import { requireKnown, requireObject } from '../util/parse-options.ts'
import {
  type CancelAnswer,
  type CancelOptions,
  type CancelSessionAnswer,
  type CancelTaskOptions,
  checkCancel,
  checkWish,
  toCancelAnswer,
} from './cancel.ts'
import type {
  DropOptions,
  DropResult,
  ListDeadLettersOptions,
  RedriveOptions,
  RedriveResult,
} from './dead-letter-options.ts'
import type { GatewayClientOptions } from './options.ts'
import { type ClientParts, openParts } from './parts.ts'
import type { PluginListing, ReloadPluginsOptions, WorkerReload } from './plugin-office.ts'
import { checkReply, type ReplyAnswer, type ReplyOptions } from './reply.ts'
import type { SendContractRequest, SendMessageRequest } from './request.ts'
import type { AskOptions, ResultOptions } from './results.ts'
import type { AnyRequest, SendCommandAnswer, SendCommandOptions } from './sender.ts'
import type { DeleteSessionAnswer, DeleteSessionOptions } from './session-deletion.ts'
import type { SubscribeOptions } from './subscribe-options.ts'
import type { Subscription } from './subscription.ts'
import { type ListTasksOptions, listTasks } from './task-list.ts'
import type { TaskResult } from './task-result.ts'
import { readText, type TextOptions } from './text.ts'

const RELOAD_OPTIONS = { pluginId: true, timeoutMs: true } as const
const STATS_OPTIONS = { consumerGroup: true } as const
const TEXT_OPTIONS = { signal: true, timeoutMs: true, onText: true } as const

/** Which task to explain. */
export interface ExplainOptions extends TaskRef {
  /** The workers' consumer group. Default `agent_engines`. */
  readonly consumerGroup?: string | undefined
}

/**
 * The backend's side: sends messages to agents, follows sessions, reads results. Opens its connections when they are
 * first needed: one for commands, one for pushes, however many sessions are followed.
 */
export class GatewayClient implements AsyncDisposable {
  readonly #parts: ClientParts
  #closed = false

  /** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option. */
  constructor(options: GatewayClientOptions = {}) {
    const requireOpen = () => this.#requireOpen()
    this.#parts = openParts(options, { requireOpen, prepare: (request) => this.prepare(request) })
  }

  /**
   * Sends a message to an agent. Resolves with `QUEUED` only once the task is on the control stream; a request that is
   * at fault is answered with `REJECTED`, one beyond the queue's limit with `QUEUE_FULL`, and nothing is written. With
   * `waitReplicas` it is on so many replicas, too.
   *
   * @throws GatewayError `GW_REDIS_FAILED` when Redis did not take it, `GW_CLOSED` after `close()`.
   */
  sendMessage(request: SendMessageRequest): Promise<SendAnswer>
  sendMessage<Contract extends AgentContract>(request: SendContractRequest<Contract>): Promise<SendAnswer>
  async sendMessage(request: AnyRequest): Promise<SendAnswer> {
    this.#requireOpen()
    requireObject('the request', request)
    return this.#parts.sender.send(request)
  }

  /**
   * Sends a prepared command to the agents of its header's `targetAgentType`; answers like {@link sendMessage}. What a
   * worker could not read is refused here. A `CancelTaskCommand` is carried out like {@link cancelTask}: it answers
   * `CANCELLED` or `CANCEL_REQUESTED`, or `REJECTED` when there is no such task or it had its end before.
   */
  async sendCommand(command: GatewayCommand, options: SendCommandOptions = {}): Promise<SendCommandAnswer> {
    this.#requireOpen()
    return this.#parts.sender.sendCommand(command, options)
  }

  /**
   * Follows a session: an async iterable that starts at any event and never skips or repeats one. Leaving the loop ends
   * the subscription.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT` for a bad session, message or event id.
   */
  subscribe(sessionId: string, options: SubscribeOptions = {}): Subscription {
    return this.#parts.subscriptions.follow(sessionId, options)
  }

  /**
   * Waits for the end of a task, whenever it was sent. A failed or cancelled task resolves too.
   *
   * @throws GatewayError `GW_TIMEOUT` when the end does not come in time, `GW_TASK_LOST` when Redis knew the task and
   * does not any more.
   */
  async result<Data = unknown>(options: ResultOptions): Promise<TaskResult<Data>> {
    this.#requireOpen()
    requireObject('the options', options)
    return this.#parts.results.wait(options)
  }

  /**
   * Waits for the end of a task and answers its text as it stands then: all chunks that were not taken back. `onText`
   * is told of every change on the way.
   *
   * @throws GatewayError `GW_TIMEOUT` when the end does not come in time.
   */
  async text(sessionId: string, messageId: string, options: TextOptions = {}): Promise<string> {
    requireKnown(options, TEXT_OPTIONS)
    const { records } = this.#parts.stores
    return readText({ subscriptions: this.#parts.subscriptions, records }, checkRef({ sessionId, messageId }), options)
  }

  /**
   * Sends a message and waits for the end of its task.
   *
   * @throws GatewayError like {@link sendMessage} and {@link result}; a refused send is thrown as `GW_SEND_REFUSED`.
   */
  ask<Contract extends AgentContract>(
    request: SendContractRequest<Contract> & AskOptions,
  ): Promise<TaskResult<ContractResult<Contract>>>
  ask<Data = unknown>(request: SendMessageRequest & AskOptions): Promise<TaskResult<Data>>
  async ask(request: AnyRequest & AskOptions): Promise<TaskResult> {
    this.#requireOpen()
    requireObject('the request', request)
    return this.#parts.results.ask(request)
  }

  /**
   * Cancels a task, whatever it is doing, and all that was sent on its behalf. After `CANCELLED` and `CANCEL_REQUESTED`
   * it ends as CANCELLED, whatever its handler does. With `ALREADY_FINISHED` nothing has changed: what a finished task sent
   * and did not wait for goes on. Only where its end was CANCELLED, a repeated cancel goes on with what the first has left.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT`, or `GW_REDIS_FAILED` when Redis did not answer: ask again.
   */
  async cancelTask(options: CancelTaskOptions): Promise<CancelAnswer> {
    this.#requireOpen()
    requireObject('the options', options)
    const { ref, wish } = checkCancel(options)
    return toCancelAnswer(await this.#parts.canceller.cancel(ref, wish))
  }

  /** Cancels every task of a session that has no end yet; answers what became of each. */
  async cancelSession(sessionId: string, options: CancelOptions = {}): Promise<CancelSessionAnswer> {
    this.#requireOpen()
    checkId('sessionId', sessionId)
    const statuses = await this.#parts.canceller.cancelSession(sessionId, checkWish(options))
    const tasks = [...statuses].map(([messageId, status]) => ({ messageId, ...toCancelAnswer(status) }))
    return { success: true, tasks }
  }

  /**
   * Answers a question that a task put by `askUser`. The first answer that fits is the one; giving it again does no harm.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT`, or `GW_REDIS_FAILED` when Redis did not answer: reply again.
   */
  async reply(options: ReplyOptions): Promise<ReplyAnswer> {
    this.#requireOpen()
    requireObject('the options', options)
    const { ref, askId, content } = checkReply(options)
    const { status, reason } = await this.#parts.asks.reply(ref, askId, content)
    return { success: status === 'ACCEPTED', status, ...(reason === undefined ? {} : { reason }) }
  }

  /** The questions of a session that wait for an answer, oldest first. */
  async pendingAsks(sessionId: string): Promise<PendingAsk[]> {
    this.#requireOpen()
    return this.#parts.asks.pending(checkId('sessionId', sessionId))
  }

  /**
   * What was said in a session, oldest first: the newest messages, or those before the one with the id `before`.
   *
   * @throws GatewayError `GW_NO_HISTORY` when this client was given no `history`, `GW_HISTORY_FAILED` when that does not
   * answer, `GW_INVALID_ARGUMENT`.
   */
  async getHistory(sessionId: string, page: HistoryPage = {}): Promise<readonly HistoryMessage[]> {
    this.#requireOpen()
    const { history } = this.#parts
    if (history !== undefined) return history.list(checkId('sessionId', sessionId), page)
    const reason =
      "give the client the store of its workers as `history`; their default, each worker's memory, is its own"
    throw new GatewayError('GW_NO_HISTORY', { reason })
  }

  /**
   * Deletes a session: cancels by force what has no end, then removes messages, events, records, journals and dead
   * letters. May be repeated. What is sent to the session meanwhile may go with it or not.
   *
   * @throws GatewayError `GW_REDIS_FAILED` or `GW_HISTORY_FAILED`: delete again.
   */
  async deleteSession(sessionId: string, options: DeleteSessionOptions = {}): Promise<DeleteSessionAnswer> {
    this.#requireOpen()
    return this.#parts.deletion.delete(sessionId, options)
  }

  /** What is known of a task, or null. */
  async getTask(ref: TaskRef): Promise<TaskInfo | null> {
    this.#requireOpen()
    requireObject('the task', ref)
    return this.#parts.stores.records.get(checkRef(ref))
  }

  /** A task and all that was sent on its behalf, as far as their records are kept; null if its own is not. */
  async getTree(sessionId: string, messageId: string): Promise<TaskTree | null> {
    this.#requireOpen()
    return this.#parts.stores.trees.read(checkRef({ sessionId, messageId }))
  }

  /** Tasks, oldest first; those of one ms by their ids, which is as they were sent where the sender left ids to us. */
  async listTasks(options: ListTasksOptions = {}): Promise<TaskInfo[]> {
    this.#requireOpen()
    return listTasks(this.#parts.stores.records, options)
  }

  /** The live workers. */
  async listWorkers(): Promise<WorkerInfo[]> {
    this.#requireOpen()
    return this.#parts.stores.presence.list()
  }

  /** The plugins of the live workers, by worker. */
  async listPlugins(): Promise<PluginListing[]> {
    this.#requireOpen()
    return this.#parts.plugins.list()
  }

  /**
   * Has all live workers load their plugins anew, or one of them, also where nothing seems to have changed; answers what
   * became of it on each. Running tasks keep what they started with.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT` that names the option.
   */
  async reloadPlugins(options: ReloadPluginsOptions = {}): Promise<WorkerReload[]> {
    this.#requireOpen()
    requireKnown(options, RELOAD_OPTIONS)
    return this.#parts.plugins.reload(options)
  }

  /** What could not be processed or finished, of one capability or by a filter, newest first. */
  async listDeadLetters(
    filter: string | ListDeadLettersOptions = {},
    options: { limit?: number | undefined } = {},
  ): Promise<DeadLetter[]> {
    this.#requireOpen()
    const meant = typeof filter === 'string' ? { capability: filter } : filter
    requireObject('the filter', meant)
    return this.#parts.deadLetters.list({ ...options, ...meant })
  }

  /** The newest dead letter that is meant, or null. */
  async showDeadLetter(filter: DeadLetterFilter): Promise<DeadLetter | null> {
    this.#requireOpen()
    return this.#parts.deadLetters.show(filter)
  }

  /**
   * Sends what lies in the dead letters once more, oldest first: a task keeps its ids and history and gets a fresh budget
   * of attempts. May be repeated and done by several at once: a task runs once for all of them.
   *
   * @throws GatewayError `GW_REDIS_FAILED` in the middle of it: what was not redriven is still there.
   */
  async redriveDeadLetters(options: RedriveOptions = {}): Promise<RedriveResult> {
    this.#requireOpen()
    return this.#parts.deadLetters.redrive(options)
  }

  /** Throws dead letters away; their tasks stay `FAILED`. */
  async dropDeadLetters(options: DropOptions = {}): Promise<DropResult> {
    this.#requireOpen()
    return this.#parts.deadLetters.drop(options)
  }

  /** How many tasks of a capability wait and run, by lane, for how long the oldest has been waiting, and what failed. */
  async queueStats(capability: string, options: QueueStatsOptions = {}): Promise<QueueStats> {
    this.#requireOpen()
    requireKnown(options, STATS_OPTIONS)
    return this.#parts.stores.queues.read(checkCapability('capability', capability), options)
  }

  /**
   * Looks over a live system for what should not be: tasks that nothing will move any more, entries, consumers and keys
   * that nobody will remove; repairs it with `fix`. Looks twice, some seconds apart, and walks over all keys: for operators.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT` that names the option.
   */
  async diagnose(options: DiagnoseOptions = {}): Promise<Diagnosis> {
    this.#requireOpen()
    return new Audit(this.#parts.stores).diagnose(options)
  }

  /** Tells where a task is and what it waits for, in data and in words. */
  async explain(options: ExplainOptions): Promise<Explanation> {
    this.#requireOpen()
    requireObject('the options', options)
    const { sessionId, messageId, consumerGroup = DEFAULT_GROUP } = options
    const { redis, keys } = this.#parts.stores
    return new Explainer(redis, keys, consumerGroup).explain(checkRef({ sessionId, messageId }))
  }

  /** Ends all subscriptions and closes the connections. What was sent stays sent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#parts.subscriptions.close()
    this.#parts.connections.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** For subclasses with a richer form of content: makes a request plain before it is checked. */
  protected prepare(request: AnyRequest): AnyRequest {
    return request
  }

  #requireOpen(): void {
    if (this.#closed) throw new GatewayError('GW_CLOSED', { what: 'client' })
  }
}
