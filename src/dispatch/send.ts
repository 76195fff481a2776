import type { AgentContract } from '../agent/contract.ts'
import { errorMessage, GatewayError, type GatewayErrorCode } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { GatewayCommand } from '../protocol/command.ts'
import { cancelledDone } from '../protocol/endings.ts'
import type { MessageHeader } from '../protocol/header.ts'
import { laneOfWorker, type Priority } from '../redis/keys.ts'
import type { Agenda } from '../store/agenda.ts'
import type { CancelRequest } from '../store/cancel-request.ts'
import type { ControlWriter, Departure } from '../store/control-writer.ts'
import type { InboxWriter } from '../store/inbox.ts'
import type { Presence } from '../store/presence.ts'
import type { AdmitAnswer, TaskAdmission, TaskRecords } from '../store/task-records.ts'
import { Leaving, openDepartures } from './departures.ts'
import { contractFault, encodeOrFault } from './encode.ts'
import { enterQueue, type QueueLimit } from './queue-limit.ts'
import type { TaskEnder } from './task-ender.ts'

type RefusedStatus = 'NO_WORKER' | 'QUEUE_FULL' | 'REJECTED' | 'NOT_REPLICATED'

/** What became of a send. Anything but `QUEUED` and `NOT_REPLICATED` wrote nothing. */
export type SendAnswer =
  | {
      readonly success: true
      readonly status: 'QUEUED'
      readonly messageId: string
      readonly traceId: string
      /** Unix ms, by this process' clock. */
      readonly timestamp: number
    }
  | {
      readonly success: false
      /**
       * `NO_WORKER`: nobody offers the capability now. `QUEUE_FULL`: its lane holds `maxQueueLength` tasks. `REJECTED`: the
       * request itself is at fault. `NOT_REPLICATED`: it is sent and will run, but fewer than `waitReplicas` replicas have
       * confirmed it; sent again with the same `messageId`, it still runs once.
       */
      readonly status: RefusedStatus
      readonly messageId: string
      readonly traceId: string
      readonly timestamp: number
      readonly error: { readonly code: GatewayErrorCode; readonly message: string }
    }

/** How a command is sent. A task that is held back (`delayMs`) takes its place later, whatever the queue's length is. */
export interface DispatchOptions extends QueueLimit {
  /** Default `normal`. */
  readonly priority?: Priority | undefined
  /** Hold the task back for so long, in ms. Default not at all. */
  readonly delayMs?: number | undefined
  /** Only this worker may run it, on its own lane; `priority` means nothing then. Default any of the capability. */
  readonly targetWorkerId?: string | undefined
  /** Refuse with `NO_WORKER` unless a live worker offers the capability (the worker, if one is named). Default false. */
  readonly requireOnlineWorker?: boolean
  /** Contract that the content must fit. */
  readonly contract?: AgentContract
  /** The command was built from checked parts and need not be read back. Default false. */
  readonly isChecked?: boolean
}

/** The one door to the control streams: checks a command, writes its entry and its record. */
export class Dispatcher {
  readonly #presence: Presence
  readonly #records: TaskRecords
  readonly #maxPayloadBytes: number
  readonly #ender: TaskEnder
  readonly #logger: Logger
  readonly #departures: ReturnType<typeof openDepartures>

  constructor(options: {
    control: ControlWriter
    records: TaskRecords
    presence: Presence
    agenda: Agenda
    inboxes: InboxWriter
    ender: TaskEnder
    maxPayloadBytes: number
    isCluster: boolean
    logger: Logger
  }) {
    this.#presence = options.presence
    this.#records = options.records
    this.#ender = options.ender
    this.#logger = options.logger
    this.#maxPayloadBytes = options.maxPayloadBytes
    this.#departures = openDepartures(options)
  }

  /**
   * Sends a command to the agents of its header's `targetAgentType`. Resolves with `QUEUED` once the task is on the
   * control stream.
   *
   * @throws GatewayError `GW_REDIS_FAILED` when Redis did not take it.
   */
  async send(command: GatewayCommand, options: DispatchOptions = {}): Promise<SendAnswer> {
    const { messageId, traceId, targetAgentType } = command.header
    const timestamp = Date.now()
    const violation = options.contract === undefined ? undefined : await contractFault(command, options.contract)
    const data = violation ?? encodeOrFault(command, { maxBytes: this.#maxPayloadBytes, isChecked: options.isChecked })
    if (data instanceof GatewayError) return refused('REJECTED', data, { messageId, traceId, timestamp })
    try {
      if (options.requireOnlineWorker && !(await this.#isAwaited(command, options.targetWorkerId))) {
        const details = { agentType: targetAgentType, workerId: options.targetWorkerId }
        const error = new GatewayError('GW_NO_ONLINE_WORKER', details)
        return refused('NO_WORKER', error, { messageId, traceId, timestamp })
      }
      if (!(await this.#depart(command, data, options))) {
        const { targetWorkerId, maxQueueLength } = options
        const priority = targetWorkerId === undefined ? (options.priority ?? 'normal') : laneOfWorker(targetWorkerId)
        const details = { agentType: targetAgentType, priority, limit: maxQueueLength }
        return refused('QUEUE_FULL', new GatewayError('GW_QUEUE_FULL', details), { messageId, traceId, timestamp })
      }
    } catch (cause) {
      if (cause instanceof GatewayError && cause.code === 'GW_CLOSED') throw cause
      throw new GatewayError(
        'GW_REDIS_FAILED',
        { operation: `the send of ${messageId} to '${targetAgentType}'`, reason: errorMessage(cause) },
        { cause },
      )
    }
    return { success: true, status: 'QUEUED', messageId, traceId, timestamp }
  }

  /** True if somebody is there for it. One that is there itself was sent when somebody was, whatever the sender heard of it. */
  async #isAwaited({ header }: GatewayCommand, workerId: string | undefined): Promise<boolean> {
    const online = await this.#presence.online(header.targetAgentType)
    const isOnline = workerId === undefined ? online.length > 0 : online.includes(workerId)
    return isOnline || (await this.#records.peek(header)) !== null
  }

  /** False if there was no room in the queue. */
  #depart(command: GatewayCommand, data: string, options: DispatchOptions): Promise<boolean> {
    const { targetWorkerId, delayMs, maxQueueLength: limit } = options
    const lane = targetWorkerId === undefined ? undefined : laneOfWorker(targetWorkerId)
    const priority = lane ?? options.priority ?? 'normal'
    const expiresInMs = command.header.options?.expiresInMs
    const task = toAdmission(command)
    const isPlain = lane === undefined && !delayMs && expiresInMs === undefined && limit === undefined
    if (isPlain) return this.#enter(new Leaving(task, data, priority))
    const timed = { ...task, lane, delayMs: delayMs || undefined, expiresInMs }
    return this.#departTimed({ task: timed, data, priority, limit }, options)
  }

  async #departTimed(timed: Departure, options: DispatchOptions): Promise<boolean> {
    const { task } = timed
    const { delayMs, expiresInMs } = task
    if (delayMs) {
      await this.#endIfCancelled(task, await this.#departures.delayed.add(timed))
      return true
    }
    // A task that is there has its place: its first send was carried out, whatever the sender heard of it.
    const enter = async () => (await this.#enter(timed)) || (await this.#records.peek(task)) !== null
    if (!(await enterQueue(enter, options))) return false
    if (expiresInMs !== undefined) await this.#departures.expiring.add(timed)
    return true
  }

  async #enter(departure: Departure): Promise<boolean> {
    const answer = await this.#departures.plain.add(departure)
    await this.#endIfCancelled(departure.task, answer)
    return answer !== null
  }

  /** What is sent on behalf of a cancelled task has its end at once, whether somebody offers its capability or not. */
  async #endIfCancelled(task: TaskAdmission, answer: AdmitAnswer | null): Promise<void> {
    if (!isCancelled(answer)) return
    try {
      const ended = await this.#ender.end(task, cancelledDone(answer.reason))
      if (ended.status === 'ended') await this.#ender.tidy(ended.outline, 'CANCELLED')
    } catch (err) {
      // It is on its stream, or will be, and whoever takes it ends it.
      const { sessionId, messageId } = task
      this.#logger.warn({ err, sessionId, messageId }, 'a task sent on behalf of a cancelled one has no end yet')
    }
  }
}

/** A send that did not come to what was asked for. */
export function refused(
  status: RefusedStatus,
  error: GatewayError,
  about: { messageId: string; traceId: string; timestamp: number },
): SendAnswer {
  return { success: false, status, ...about, error: { code: error.code, message: error.message } }
}

/** No literal; see `deferred`. */
class Born implements TaskAdmission {
  readonly sessionId: string
  readonly messageId: string
  readonly traceId: string
  readonly parentMessageId: string
  readonly userCode: string
  readonly agentType: string

  constructor({ sessionId, messageId, traceId, parentMessageId, userCode }: MessageHeader, agentType: string) {
    this.sessionId = sessionId
    this.messageId = messageId
    this.traceId = traceId
    this.parentMessageId = parentMessageId
    this.userCode = userCode
    this.agentType = agentType
  }
}

/** What a task's record says of the command that made it. */
export function toAdmission({ header }: GatewayCommand, agentType = header.targetAgentType): TaskAdmission {
  return new Born(header, agentType)
}

function isCancelled(answer: AdmitAnswer | null): answer is CancelRequest {
  return typeof answer === 'object' && answer !== null
}
