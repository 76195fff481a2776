import type { AgentContract, ContractResult } from '../agent/contract.ts'
import type { HistoryMessage, HistoryPage, HistoryStore } from '../agent/history.ts'
import { Audit, type DiagnoseOptions, type Diagnosis } from '../audit/audit.ts'
import { Explainer } from '../audit/explain.ts'
import type { Explanation } from '../audit/explanation.ts'
import { Asks, type PendingAsk } from '../dispatch/asks.ts'
import { Canceller } from '../dispatch/canceller.ts'
import type { QueueLimit } from '../dispatch/queue-limit.ts'
import { Dispatcher, refused, type SendAnswer } from '../dispatch/send.ts'
import { TaskEnder } from '../dispatch/task-ender.ts'
import { GatewayError } from '../errors.ts'
import type { GatewayCommand } from '../protocol/command.ts'
import type { SessionEvent } from '../protocol/event.ts'
import { checkCapability, checkId, idFault, newMessageId, newTraceId, type TaskRef } from '../protocol/ids.ts'
import type { TaskStatus } from '../protocol/status.ts'
import type { RedisClient } from '../redis/client.ts'
import { RedisConnections } from '../redis/connections.ts'
import { Keys, type Priority } from '../redis/keys.ts'
import { isEntryId } from '../redis/streams.ts'
import { Agenda } from '../store/agenda.ts'
import { ControlWriter } from '../store/control-streams.ts'
import { DataReader, DataWriter, DEFAULT_RETENTION } from '../store/data-streams.ts'
import type { DeadLetter } from '../store/dead-letter.ts'
import type { DeadLetterFilter } from '../store/dead-letter-filter.ts'
import { DEFAULT_GROUP } from '../store/defaults.ts'
import { InboxWriter } from '../store/inbox.ts'
import { Journals } from '../store/journals.ts'
import { Presence, type WorkerInfo } from '../store/presence.ts'
import { type QueueStats, type QueueStatsOptions, Queues } from '../store/queues.ts'
import { type TaskInfo, TaskRecords } from '../store/task-records.ts'
import { type TaskTree, TaskTrees } from '../store/task-trees.ts'
import {
  type CancelAnswer,
  type CancelOptions,
  type CancelSessionAnswer,
  type CancelTaskOptions,
  checkCancel,
  checkWish,
  toCancelAnswer,
} from './cancel.ts'
import { DeadLetterOffice } from './dead-letter-office.ts'
import type {
  DropOptions,
  DropResult,
  ListDeadLettersOptions,
  RedriveOptions,
  RedriveResult,
} from './dead-letter-options.ts'
import { type GatewayClientOptions, resolveClientOptions } from './options.ts'
import { checkReply, type ReplyAnswer, type ReplyOptions } from './reply.ts'
import { type CheckedRequest, checkRequest, type SendContractRequest, type SendMessageRequest } from './request.ts'
import { type DeleteSessionAnswer, type DeleteSessionOptions, SessionDeletion } from './session-deletion.ts'
import { SessionFeeds } from './session-feeds.ts'
import { type SubscribeOptions, Subscription } from './subscription.ts'
import { isEnd, type TaskResult, toResult } from './task-result.ts'
import { readText, type TextOptions } from './text.ts'
import { checkTimer, timeLimit } from './time-limit.ts'

export interface ResultOptions extends TaskRef {
  /** How long to wait, in ms. Default for ever. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** What an ask may do besides sending. */
export interface AskOptions {
  /** Called with each event of the task, in order. */
  readonly onEvent?: (event: SessionEvent) => void
  /** How long to wait for the end, in ms. Default for ever. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

export interface ListTasksOptions {
  /** Only the tasks of this session; without it the key space is walked, which is for operators only. */
  readonly sessionId?: string
  readonly status?: TaskStatus
  /** Default 100. */
  readonly limit?: number
}

/** Which task to explain. */
export interface ExplainOptions extends TaskRef {
  /** The workers' consumer group. Default `agent_engines`. */
  readonly consumerGroup?: string
}

/**
 * The backend's side: sends messages to agents, follows sessions, reads results. Opens its connections when they are
 * first needed: one for commands, one for pushes, however many sessions are followed.
 */
export class GatewayClient implements AsyncDisposable {
  readonly #connections: RedisConnections
  readonly #dispatcher: Dispatcher
  readonly #queueLimit: QueueLimit
  readonly #canceller: Canceller
  readonly #records: TaskRecords
  readonly #asks: Asks
  readonly #trees: TaskTrees
  readonly #presence: Presence
  readonly #deadLetters: DeadLetterOffice
  readonly #queues: Queues
  readonly #reader: DataReader
  readonly #feeds: SessionFeeds
  readonly #commands: RedisClient
  readonly #keys: Keys
  readonly #history: HistoryStore | undefined
  readonly #deletion: SessionDeletion
  readonly #subscriptions = new Set<Subscription>()
  #closed = false

  /** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option. */
  constructor(options: GatewayClientOptions = {}) {
    const { redis, keyPrefix, maxPayloadBytes, logger, history, ...more } = resolveClientOptions(options)
    const { maxQueueLength, whenFull, queueTimeoutMs, ...ttls } = more
    this.#queueLimit = { maxQueueLength, whenFull, queueTimeoutMs }
    const keys = new Keys(keyPrefix)
    this.#connections = new RedisConnections(redis, logger)
    const commands = this.#connections.client('prompt')
    this.#commands = commands
    this.#keys = keys
    this.#records = new TaskRecords(commands, keys)
    this.#asks = new Asks(new Journals(commands, keys), this.#records)
    this.#trees = new TaskTrees(commands, keys, this.#records)
    this.#presence = new Presence(commands, keys)
    this.#deadLetters = new DeadLetterOffice(commands, keys, maxPayloadBytes)
    this.#queues = new Queues(commands, keys)
    this.#reader = new DataReader(commands, keys)
    this.#feeds = new SessionFeeds(this.#connections, this.#reader, logger)
    const inboxes = new InboxWriter(commands, keys)
    const writer = new DataWriter(commands, keys, { ...DEFAULT_RETENTION, ...ttls })
    const ender = new TaskEnder(this.#records, writer)
    const agenda = new Agenda(commands, keys)
    this.#canceller = new Canceller({ records: this.#records, ender, inboxes, agenda, logger })
    this.#history = history
    this.#deletion = new SessionDeletion({
      ...{ redis: commands, keys, records: this.#records, canceller: this.#canceller, history },
      ...{ deadLetters: this.#deadLetters, presence: this.#presence, inboxes },
    })
    this.#dispatcher = new Dispatcher({
      control: new ControlWriter(commands, keys),
      records: this.#records,
      presence: this.#presence,
      agenda,
      inboxes,
      maxPayloadBytes,
      isCluster: this.#connections.isCluster,
    })
  }

  /**
   * Sends a message to an agent. Resolves with `QUEUED` only once the task is on the control stream; a request that is
   * at fault is answered with `REJECTED`, one beyond the queue's limit with `QUEUE_FULL`, and nothing is written.
   *
   * @throws GatewayError `GW_REDIS_FAILED` when Redis did not take it, `GW_CLOSED` after `close()`.
   */
  sendMessage(request: SendMessageRequest): Promise<SendAnswer>
  sendMessage<Contract extends AgentContract>(request: SendContractRequest<Contract>): Promise<SendAnswer>
  sendMessage(request: SendMessageRequest | SendContractRequest): Promise<SendAnswer> {
    return this.#send(request)
  }

  async #send(request: SendMessageRequest | SendContractRequest, signal?: AbortSignal): Promise<SendAnswer> {
    this.#requireOpen()
    const checked = this.#check(request)
    if (checked instanceof GatewayError) {
      const { messageId = newMessageId(), traceId = newTraceId() } = request
      return refused('REJECTED', checked, { messageId, traceId, timestamp: Date.now() })
    }
    // Spelled out: spreading costs a third of a send.
    const { command, contract, requireOnlineWorker, priority, delayMs } = checked
    const { maxQueueLength, whenFull, queueTimeoutMs } = this.#queueLimit
    const how = { contract, requireOnlineWorker, priority, delayMs, maxQueueLength, whenFull, queueTimeoutMs }
    return this.#dispatcher.send(command, Object.assign(how, { signal, isChecked: true }))
  }

  /**
   * Sends a prepared command to the agents of its header's `targetAgentType`; answers like {@link sendMessage}. What a
   * worker could not read is refused here.
   */
  async sendCommand(
    command: GatewayCommand,
    options: { requireOnlineWorker?: boolean; priority?: Priority } = {},
  ): Promise<SendAnswer> {
    this.#requireOpen()
    return this.#dispatcher.send(command, { ...options, ...this.#queueLimit })
  }

  /**
   * Follows a session: an async iterable that starts at any event and never skips or repeats one. Leaving the loop ends
   * the subscription.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT` for a bad session, message or event id.
   */
  subscribe(sessionId: string, options: SubscribeOptions = {}): Subscription {
    this.#requireOpen()
    checkId('sessionId', sessionId)
    if (options.messageId !== undefined) checkId('messageId', options.messageId)
    const { after, idleTimeoutMs } = options
    if (after !== undefined && after !== '$' && !isEntryId(after)) {
      const reason = "must be an event's id, '0' or '$'"
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'after', value: after, reason })
    }
    checkTimer('idleTimeoutMs', idleTimeoutMs)
    const resources = { feeds: this.#feeds, reader: this.#reader, records: this.#records }
    const subscription = new Subscription(resources, sessionId, options)
    this.#subscriptions.add(subscription)
    void subscription.ended.then(() => this.#subscriptions.delete(subscription))
    return subscription
  }

  /**
   * Waits for the end of a task, whenever it was sent. A failed or cancelled task resolves too.
   *
   * @throws GatewayError `GW_TIMEOUT` when the end does not come in time, `GW_TASK_LOST` when Redis knew the task and
   * does not any more.
   */
  async result<Data = unknown>(options: ResultOptions): Promise<TaskResult<Data>> {
    const { sessionId, messageId, timeoutMs, signal } = options
    this.#requireOpen()
    checkId('sessionId', sessionId)
    checkId('messageId', messageId)
    const limit = timeLimit(timeoutMs, signal)
    const subscription = this.subscribe(sessionId, { messageId, after: '$', signal: limit.signal })
    try {
      // A time that is up, or the caller's signal, ends the subscription, also one that never opens.
      await Promise.race([subscription.opened(), subscription.ended])
      limit.signal.throwIfAborted()
      const end = await this.#records.getEnd({ sessionId, messageId })
      if (isEnd(end)) return toResult<Data>(end)
      if (end !== null) subscription.expectTask()
      for await (const _ of subscription) limit.signal.throwIfAborted()
      limit.signal.throwIfAborted()
      return await this.#readResult<Data>({ sessionId, messageId })
    } catch (error) {
      if (!limit.timedOut()) throw error
      throw new GatewayError('GW_TIMEOUT', { what: `the end of ${messageId}`, timeoutMs }, { cause: error })
    } finally {
      limit.clear()
      await subscription.return()
    }
  }

  /**
   * Waits for the end of a task and answers its text as it stands then: all chunks that were not taken back. `onText`
   * is told of every change on the way.
   *
   * @throws GatewayError `GW_TIMEOUT` when the end does not come in time.
   */
  async text(sessionId: string, messageId: string, options: TextOptions = {}): Promise<string> {
    const subscribe: GatewayClient['subscribe'] = (...args) => this.subscribe(...args)
    const getEnd = (ref: TaskRef) => this.#records.getEnd(ref)
    return readText({ subscribe, getEnd }, { sessionId, messageId }, options)
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
  async ask(request: (SendMessageRequest | SendContractRequest) & AskOptions): Promise<TaskResult> {
    this.#requireOpen()
    const { onEvent, timeoutMs, signal, ...message } = request
    const messageId = message.messageId ?? newMessageId()
    const limit = timeLimit(timeoutMs, signal)
    const { sessionId } = message
    const isKnown = message.messageId !== undefined
    // Before the send, so that not even the first event has to be looked up. A message id of the caller's may have been
    // sent earlier: then its events begin earlier too.
    const follow = () =>
      this.subscribe(sessionId, { messageId, after: isKnown ? undefined : '$', signal: limit.signal })
    const early = idFault(sessionId) === null && !isKnown ? follow() : undefined
    let subscription = early
    try {
      const sent = await this.#send({ ...message, messageId } as SendMessageRequest, limit.signal)
      if (!sent.success) limit.signal.throwIfAborted() // it may have been waiting for room
      if (!sent.success) throw new GatewayError('GW_SEND_REFUSED', { status: sent.status, ...sent.error })
      subscription ??= follow()
      subscription.expectTask()
      for await (const event of subscription) onEvent?.(event)
      limit.signal.throwIfAborted()
      return await this.#readResult({ sessionId, messageId })
    } catch (error) {
      if (!limit.timedOut()) throw error
      throw new GatewayError('GW_TIMEOUT', { what: `the end of ${messageId}`, timeoutMs }, { cause: error })
    } finally {
      limit.clear()
      await subscription?.return()
    }
  }

  /**
   * Cancels a task, whatever it is doing, and all that was sent on its behalf. After `CANCELLED` and `CANCEL_REQUESTED`
   * it ends as CANCELLED, whatever its handler does.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT`, or `GW_REDIS_FAILED` when Redis did not answer: ask again.
   */
  async cancelTask(options: CancelTaskOptions): Promise<CancelAnswer> {
    this.#requireOpen()
    const { ref, wish } = checkCancel(options)
    return toCancelAnswer(await this.#canceller.cancel(ref, wish))
  }

  /** Cancels every task of a session that has no end yet; answers what became of each. */
  async cancelSession(sessionId: string, options: CancelOptions = {}): Promise<CancelSessionAnswer> {
    this.#requireOpen()
    checkId('sessionId', sessionId)
    const statuses = await this.#canceller.cancelSession(sessionId, checkWish(options))
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
    const { ref, askId, content } = checkReply(options)
    const { status, reason } = await this.#asks.reply(ref, askId, content)
    return { success: status === 'ACCEPTED', status, ...(reason === undefined ? {} : { reason }) }
  }

  /** The questions of a session that wait for an answer, oldest first. */
  async pendingAsks(sessionId: string): Promise<PendingAsk[]> {
    this.#requireOpen()
    return this.#asks.pending(checkId('sessionId', sessionId))
  }

  /**
   * What was said in a session, oldest first: the newest messages, or those before the one with the id `before`.
   *
   * @throws GatewayError `GW_NO_HISTORY` when this client was given no `history`, `GW_HISTORY_FAILED` when that does not
   * answer, `GW_INVALID_ARGUMENT`.
   */
  async getHistory(sessionId: string, page: HistoryPage = {}): Promise<readonly HistoryMessage[]> {
    this.#requireOpen()
    if (this.#history !== undefined) return this.#history.list(checkId('sessionId', sessionId), page)
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
    return this.#deletion.delete(sessionId, options)
  }

  /** What is known of a task, or null. */
  async getTask(ref: TaskRef): Promise<TaskInfo | null> {
    this.#requireOpen()
    return this.#records.get({
      sessionId: checkId('sessionId', ref.sessionId),
      messageId: checkId('messageId', ref.messageId),
    })
  }

  /** A task and all that was sent on its behalf, as far as their records are kept; null if its own is not. */
  async getTree(sessionId: string, messageId: string): Promise<TaskTree | null> {
    this.#requireOpen()
    return this.#trees.read({
      sessionId: checkId('sessionId', sessionId),
      messageId: checkId('messageId', messageId),
    })
  }

  /** Tasks, oldest first. */
  async listTasks({ sessionId, status, limit = 100 }: ListTasksOptions = {}): Promise<TaskInfo[]> {
    this.#requireOpen()
    const tasks =
      sessionId === undefined
        ? await this.#records.listAll(status === undefined ? limit : Number.MAX_SAFE_INTEGER)
        : await this.#records.listSession(checkId('sessionId', sessionId))
    return tasks.filter((task) => status === undefined || task.status === status).slice(0, limit)
  }

  /** The live workers. */
  async listWorkers(): Promise<WorkerInfo[]> {
    this.#requireOpen()
    return this.#presence.list()
  }

  /** What could not be processed or finished, of one capability or by a filter, newest first. */
  async listDeadLetters(
    filter: string | ListDeadLettersOptions = {},
    options: { limit?: number } = {},
  ): Promise<DeadLetter[]> {
    this.#requireOpen()
    return this.#deadLetters.list(typeof filter === 'string' ? { ...options, capability: filter } : filter)
  }

  /** The newest dead letter that is meant, or null. */
  async showDeadLetter(filter: DeadLetterFilter): Promise<DeadLetter | null> {
    this.#requireOpen()
    return this.#deadLetters.show(filter)
  }

  /**
   * Sends what lies in the dead letters once more, oldest first: a task keeps its ids and history and gets a fresh budget
   * of attempts. May be repeated and done by several at once: a task runs once for all of them.
   *
   * @throws GatewayError `GW_REDIS_FAILED` in the middle of it: what was not redriven is still there.
   */
  async redriveDeadLetters(options: RedriveOptions = {}): Promise<RedriveResult> {
    this.#requireOpen()
    return this.#deadLetters.redrive(options)
  }

  /** Throws dead letters away; their tasks stay `FAILED`. */
  async dropDeadLetters(options: DropOptions = {}): Promise<DropResult> {
    this.#requireOpen()
    return this.#deadLetters.drop(options)
  }

  /** How many tasks of a capability wait and run, by lane, for how long the oldest has been waiting, and what failed. */
  async queueStats(capability: string, options: QueueStatsOptions = {}): Promise<QueueStats> {
    this.#requireOpen()
    return this.#queues.read(checkCapability('capability', capability), options)
  }

  /**
   * Looks over a live system for what should not be: tasks that nothing will move any more, entries, consumers and keys
   * that nobody will remove; repairs it with `fix`. Looks twice, some seconds apart, and walks over all keys: for operators.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT` that names the option.
   */
  async diagnose(options: DiagnoseOptions = {}): Promise<Diagnosis> {
    this.#requireOpen()
    return new Audit({ redis: this.#commands, keys: this.#keys }).diagnose(options)
  }

  /** Tells where a task is and what it waits for, in data and in words. */
  async explain({ sessionId, messageId, consumerGroup = DEFAULT_GROUP }: ExplainOptions): Promise<Explanation> {
    this.#requireOpen()
    const ref = { sessionId: checkId('sessionId', sessionId), messageId: checkId('messageId', messageId) }
    return new Explainer(this.#commands, this.#keys, consumerGroup).explain(ref)
  }

  /** Ends all subscriptions and closes the connections. What was sent stays sent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.return()))
    this.#feeds.close()
    this.#connections.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** For subclasses with a richer form of content: makes a request plain before it is checked. */
  protected prepare(request: SendMessageRequest | SendContractRequest): SendMessageRequest | SendContractRequest {
    return request
  }

  #check(request: SendMessageRequest | SendContractRequest): CheckedRequest | GatewayError {
    try {
      return checkRequest(this.prepare(request))
    } catch (error) {
      if (error instanceof GatewayError) return error
      throw error
    }
  }

  /** The result of a task whose `done` event was seen. */
  async #readResult<Data>(ref: TaskRef): Promise<TaskResult<Data>> {
    this.#requireOpen()
    const end = await this.#records.getEnd(ref)
    if (isEnd(end)) return toResult<Data>(end)
    throw new GatewayError('GW_RESULT_GONE', { messageId: ref.messageId })
  }

  #requireOpen(): void {
    if (this.#closed) throw new GatewayError('GW_CLOSED', { what: 'client' })
  }
}
