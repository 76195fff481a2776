import { z } from 'zod'
import type { AgentContract } from '../agent/contract.ts'
import type { Canceller } from '../dispatch/canceller.ts'
import type { QueueLimit } from '../dispatch/queue-limit.ts'
import type { Replicas } from '../dispatch/replicas.ts'
import { type Dispatcher, type DispatchOptions, refused, type SendAnswer } from '../dispatch/send.ts'
import { GatewayError } from '../errors.ts'
import { CancelTaskCommand, GatewayCommand } from '../protocol/command.ts'
import { checkId, newMessageId, newTraceId } from '../protocol/ids.ts'
import { PRIORITIES, type Priority } from '../redis/keys.ts'
import { parseOptions } from '../util/parse-options.ts'
import { checkCancel } from './cancel.ts'
import type { aroundSend } from './interceptors.ts'
import { type CheckedRequest, checkRequest, type SendContractRequest, type SendMessageRequest } from './request.ts'

export type AnyRequest = SendMessageRequest | SendContractRequest

/** How a prepared command is sent. */
export interface SendCommandOptions {
  readonly requireOnlineWorker?: boolean | undefined
  readonly priority?: Priority | undefined
}

const commandOptions = z.strictObject({
  requireOnlineWorker: z.boolean().default(false),
  priority: z.enum(PRIORITIES).optional(),
})

/** What became of a prepared command: as of a message, or of the cancel that it asked for. */
export type SendCommandAnswer =
  | SendAnswer
  | {
      readonly success: true
      readonly status: 'CANCELLED' | 'CANCEL_REQUESTED'
      readonly messageId: string
      readonly traceId: string
      /** Unix ms, by this process' clock. */
      readonly timestamp: number
    }

/** A dispatcher with a connection of its own, on which one may wait for replicas. */
export interface ReplicatedWay {
  readonly dispatcher: Dispatcher
  readonly replicas: Replicas
}

/** How a checked request is sent. No literal; see `deferred`. */
class Terms implements DispatchOptions {
  readonly contract: AgentContract | undefined
  readonly requireOnlineWorker: boolean
  readonly priority: Priority | undefined
  readonly targetWorkerId: string | undefined
  readonly delayMs: number | undefined
  readonly maxQueueLength: number | undefined
  readonly whenFull: QueueLimit['whenFull']
  readonly queueTimeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
  readonly isChecked = true

  constructor(request: CheckedRequest, limit: QueueLimit, signal: AbortSignal | undefined) {
    this.contract = request.contract
    this.requireOnlineWorker = request.requireOnlineWorker
    this.priority = request.priority
    this.targetWorkerId = request.targetWorkerId
    this.delayMs = request.delayMs
    this.maxQueueLength = limit.maxQueueLength
    this.whenFull = limit.whenFull
    this.queueTimeoutMs = limit.queueTimeoutMs
    this.signal = signal
  }
}

/** A client's way out: requests are checked here and answered, all else is the dispatcher's. */
export class Sender {
  readonly #dispatcher: Dispatcher
  readonly #canceller: Canceller
  readonly #limit: QueueLimit
  readonly #prepare: (request: AnyRequest) => AnyRequest
  readonly #around: ReturnType<typeof aroundSend>
  readonly #openReplicated: (() => ReplicatedWay) | undefined
  #replicated: ReplicatedWay | undefined

  constructor(options: {
    dispatcher: Dispatcher
    canceller: Canceller
    limit: QueueLimit
    /** Makes a request plain before it is checked. */
    prepare: (request: AnyRequest) => AnyRequest
    /** What stands around each send, if anything does. */
    around: ReturnType<typeof aroundSend>
    /** Opens the way for sends that wait for replicas, when the first one comes; undefined where there is none. */
    openReplicated: (() => ReplicatedWay) | undefined
  }) {
    this.#dispatcher = options.dispatcher
    this.#canceller = options.canceller
    this.#limit = options.limit
    this.#prepare = options.prepare
    this.#around = options.around
    this.#openReplicated = options.openReplicated
  }

  /** Sends a message; `signal` ends a wait for room. */
  send(request: AnyRequest, signal?: AbortSignal): Promise<SendAnswer> {
    if (this.#around === undefined) return this.#send(request, signal)
    return this.#around(request, (given) => this.#send(given, signal))
  }

  #send(request: AnyRequest, signal: AbortSignal | undefined): Promise<SendAnswer> {
    const checked = this.#check(request)
    if (checked instanceof GatewayError) {
      const { messageId = newMessageId(), traceId = newTraceId() } = request
      return Promise.resolve(refused('REJECTED', checked, { messageId, traceId, timestamp: Date.now() }))
    }
    const { command, waitReplicas } = checked
    const terms = new Terms(checked, this.#limit, signal)
    return waitReplicas ? this.#sendReplicated(command, terms, waitReplicas) : this.#dispatcher.send(command, terms)
  }

  /** @throws GatewayError `GW_INVALID_ARGUMENT` for what is no command. */
  async sendCommand(command: GatewayCommand, options: SendCommandOptions): Promise<SendCommandAnswer> {
    if (!(command instanceof GatewayCommand)) {
      const reason = 'must be a command, such as an AskAgentCommand'
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'the command', value: command, reason })
    }
    if (command instanceof CancelTaskCommand) return this.#cancel(command)
    let checked: z.infer<typeof commandOptions>
    try {
      checked = parseOptions(commandOptions, options)
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      const { messageId, traceId } = command.header
      return refused('REJECTED', error, { messageId, traceId, timestamp: Date.now() })
    }
    return this.#dispatcher.send(command, { ...checked, ...this.#limit })
  }

  /** A cancel is no task that could wait for a worker: it is carried out here and now, and refused if it changes nothing. */
  async #cancel(command: CancelTaskCommand): Promise<SendCommandAnswer> {
    const { header, targetMessageId, reason, requestedBy, cancelMode: mode } = command
    const { messageId, traceId, sessionId } = header
    const about = { messageId, traceId, timestamp: Date.now() }
    let checked: ReturnType<typeof checkCancel>
    try {
      checkId('targetMessageId', targetMessageId)
      checked = checkCancel({ sessionId, messageId: targetMessageId, reason, requestedBy, mode })
    } catch (error) {
      if (error instanceof GatewayError) return refused('REJECTED', error, about)
      throw error
    }
    const status = await this.#canceller.cancel(checked.ref, checked.wish)
    if (status === 'CANCELLED' || status === 'CANCEL_REQUESTED') return { success: true, status, ...about }
    const fault = status === 'NOT_FOUND' ? 'there is no such task' : 'the task had its end before'
    const details = { field: 'targetMessageId', value: targetMessageId, reason: fault }
    return refused('REJECTED', new GatewayError('GW_INVALID_ARGUMENT', details), about)
  }

  async #sendReplicated(command: GatewayCommand, options: DispatchOptions, wanted: number): Promise<SendAnswer> {
    const { messageId, traceId } = command.header
    const about = { messageId, traceId, timestamp: Date.now() }
    this.#replicated ??= this.#openReplicated?.()
    if (this.#replicated === undefined) {
      const reason = 'a Cluster cannot be asked whether its replicas have a task'
      const details = { field: 'waitReplicas', value: wanted, reason }
      return refused('REJECTED', new GatewayError('GW_INVALID_ARGUMENT', details), about)
    }
    const { dispatcher, replicas } = this.#replicated
    const { losses } = replicas
    const answer = await dispatcher.send(command, options)
    if (!answer.success) return answer
    const confirmed = await replicas.confirm(messageId, wanted, losses)
    if (confirmed >= wanted) return answer
    return refused('NOT_REPLICATED', new GatewayError('GW_NOT_REPLICATED', { messageId, confirmed, wanted }), about)
  }

  #check(request: AnyRequest): CheckedRequest | GatewayError {
    try {
      return checkRequest(this.#prepare(request))
    } catch (error) {
      if (error instanceof GatewayError) return error
      throw error
    }
  }
}
