import type { QueueLimit } from '../dispatch/queue-limit.ts'
import { type Dispatcher, refused, type SendAnswer } from '../dispatch/send.ts'
import { GatewayError } from '../errors.ts'
import type { GatewayCommand } from '../protocol/command.ts'
import { newMessageId, newTraceId } from '../protocol/ids.ts'
import type { Priority } from '../redis/keys.ts'
import { type CheckedRequest, checkRequest, type SendContractRequest, type SendMessageRequest } from './request.ts'

export type AnyRequest = SendMessageRequest | SendContractRequest

/** How a prepared command is sent. */
export interface SendCommandOptions {
  readonly requireOnlineWorker?: boolean
  readonly priority?: Priority
}

/** A client's way out: requests are checked here and answered, all else is the dispatcher's. */
export class Sender {
  readonly #dispatcher: Dispatcher
  readonly #limit: QueueLimit
  readonly #prepare: (request: AnyRequest) => AnyRequest

  constructor(options: {
    dispatcher: Dispatcher
    limit: QueueLimit
    /** Makes a request plain before it is checked. */
    prepare: (request: AnyRequest) => AnyRequest
  }) {
    this.#dispatcher = options.dispatcher
    this.#limit = options.limit
    this.#prepare = options.prepare
  }

  /** Sends a message; `signal` ends a wait for room. */
  async send(request: AnyRequest, signal?: AbortSignal): Promise<SendAnswer> {
    const checked = this.#check(request)
    if (checked instanceof GatewayError) {
      const { messageId = newMessageId(), traceId = newTraceId() } = request
      return refused('REJECTED', checked, { messageId, traceId, timestamp: Date.now() })
    }
    // Spelled out: spreading costs a third of a send.
    const { command, contract, requireOnlineWorker, priority, targetWorkerId, delayMs } = checked
    const { maxQueueLength, whenFull, queueTimeoutMs } = this.#limit
    const how = { contract, requireOnlineWorker, priority, targetWorkerId, delayMs }
    const limit = { maxQueueLength, whenFull, queueTimeoutMs, signal, isChecked: true }
    return this.#dispatcher.send(command, Object.assign(how, limit))
  }

  async sendCommand(command: GatewayCommand, options: SendCommandOptions): Promise<SendAnswer> {
    return this.#dispatcher.send(command, { ...options, ...this.#limit })
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
