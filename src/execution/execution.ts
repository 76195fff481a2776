import type { AgentContract } from '../agent/contract.ts'
import { checkSchema } from '../agent/schema.ts'
import type { GatewayWorker } from '../agent/worker.ts'
import { Emitter, type Ownership } from '../context/emitter.ts'
import { type ContextResources, TaskContext } from '../context/task-context.ts'
import { TaskSignal } from '../context/task-signal.ts'
import { GatewayError } from '../errors.ts'
import { AskAgentCommand, type GatewayCommand } from '../protocol/command.ts'
import type { MessageHeader } from '../protocol/header.ts'
import type { DataWriter } from '../store/data-streams.ts'
import { completed, contentOfResult, failed, type Outcome } from './outcome.ts'

/** A task that this worker has begun: what was asked (or why it cannot be understood), and the ownership. */
export interface Assignment {
  readonly header: MessageHeader
  readonly agentType: string
  readonly command: GatewayCommand | GatewayError
  readonly ownership: Ownership & { readonly epoch: number }
}

/** What all executions of a worker share. */
export interface ExecutionResources extends ContextResources {
  readonly worker: GatewayWorker
  readonly contracts: ReadonlyMap<string, AgentContract>
  readonly writer: DataWriter
  readonly maxPayloadBytes: number
  readonly taskTimeoutMs: number | undefined
}

type Ended = Exclude<Outcome, { status: 'RELINQUISHED' }>

/**
 * One attempt of one task: context → contract → handler → outcome → end. It settles once, whatever the handler does:
 * with the handler's outcome, or with the reason of an abort that needs no handler (time is up, ownership lost, worker
 * leaves). Resolves with true when the task has its recorded end, false when somebody else will end it.
 */
export class Execution {
  readonly #resources: ExecutionResources
  readonly #assignment: Assignment
  readonly #signal = new TaskSignal()
  readonly #emitter: Emitter
  readonly #context: TaskContext

  constructor(resources: ExecutionResources, assignment: Assignment) {
    this.#resources = resources
    this.#assignment = assignment
    const { header, agentType, ownership } = assignment
    const { writer } = resources
    const onLost = (error: GatewayError) => this.abort(error)
    this.#emitter = new Emitter({ writer, header, agentType, ownership, onLost })
    const emitter = this.#emitter
    this.#context = new TaskContext({ resources, header, agentType, ownership, emitter, signal: this.#signal })
  }

  /** Aborts the handler's signal and stops waiting for the handler. */
  abort(reason: GatewayError): void {
    this.#signal.abort(reason)
  }

  /** Why the attempt was aborted, if it was. */
  get abortReason(): GatewayError | undefined {
    return this.#signal.reason
  }

  /** Looks whether the attempt still owns its task, and aborts it if not. */
  verify(): Promise<void> {
    return this.#emitter.verify()
  }

  /** @param onHandled - Called when the handler has come to an end, before that end is recorded. */
  async run(onHandled: () => void): Promise<boolean> {
    const outcome = await this.#attempt()
    onHandled()
    const ended = outcome.status === 'RELINQUISHED' ? this.#giveUp(outcome.reason) : await this.#end(outcome)
    if (this.#context.hasWorkspace) await this.#context.dispose()
    return ended
  }

  #attempt(): Promise<Outcome> {
    const { maxPayloadBytes, taskTimeoutMs } = this.#resources
    return new Promise((resolve) => {
      const timer = taskTimeoutMs === undefined ? undefined : this.#startTimer(taskTimeoutMs)
      const settle = (outcome: Outcome) => {
        clearTimeout(timer)
        resolve(outcome)
      }
      this.#signal.onAbort((reason) => settle(failed(reason)))
      this.#process().then(
        (result) => settle(completed(result, maxPayloadBytes)),
        (error: unknown) => settle(failed(error)),
      )
    })
  }

  #startTimer(timeoutMs: number): NodeJS.Timeout {
    return setTimeout(() => this.abort(new GatewayError('GW_TASK_TIMEOUT', { timeoutMs })), timeoutMs)
  }

  async #process(): Promise<unknown> {
    const { command, agentType } = this.#assignment
    if (command instanceof GatewayError) throw command
    const contract = this.#resources.contracts.get(agentType)
    if (contract === undefined) return this.#resources.worker.processCommand(command, this.#context)
    const result = await this.#resources.worker.processCommand(await checkInput(contract, command), this.#context)
    return check(contract, 'result', contract.output, result)
  }

  #giveUp(reason: GatewayError): false {
    this.#context.logger.warn({ reason: reason.message, code: reason.code }, 'attempt given up')
    return false
  }

  async #end(outcome: Ended): Promise<boolean> {
    try {
      await this.#recordEnd(outcome)
      return true
    } catch (error) {
      // Nothing is lost: the entry stays pending, and whoever owns the task now, or takes it next, ends it.
      this.#context.logger.error({ err: error }, 'the end of the task was not recorded by this attempt')
      return false
    }
  }

  #recordEnd(outcome: Ended): Promise<void> {
    if (outcome.status === 'COMPLETED') {
      const { result, resultJson } = outcome
      const content = contentOfResult(result, this.#emitter.text)
      const fields = typeof result === 'string' || content === '' ? undefined : { content }
      return this.#emitter.end({ type: 'done', status: 'COMPLETED', result }, { result: resultJson, ...fields })
    }
    const { fault, cause } = outcome
    this.#context.logger.error({ err: cause, code: fault.code }, 'task failed')
    return this.#emitter.end({ type: 'done', status: 'FAILED', error: fault }, { error: JSON.stringify(fault) })
  }
}

async function checkInput(contract: AgentContract, command: GatewayCommand): Promise<GatewayCommand> {
  if (!(command instanceof AskAgentCommand)) return command
  return command.withContent(await check(contract, 'content', contract.input, command.content))
}

async function check(
  contract: AgentContract,
  direction: 'content' | 'result',
  schema: AgentContract['input'],
  value: unknown,
): Promise<unknown> {
  const checked = await checkSchema(schema, value)
  if (checked.ok) return checked.value
  throw new GatewayError('GW_CONTRACT_VIOLATION', { agentType: contract.agentType, direction, reason: checked.reason })
}
