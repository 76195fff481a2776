import type { GatewayError } from '../errors.ts'
import type { Assignment } from '../execution/assignment.ts'
import { Execution, type ExecutionResources } from '../execution/execution.ts'
import type { Logger } from '../logger.ts'
import type { CancelTaskCommand } from '../protocol/command.ts'
import { endedFence } from '../store/fence.ts'
import { Bag } from '../util/bag.ts'
import type { Seat } from './slots.ts'

/** The attempts that run in this worker. */
export class Executions {
  readonly #resources: ExecutionResources
  readonly #logger: Logger
  readonly #onGivenUp: (reason: GatewayError | undefined) => void
  readonly #running = new Bag<Execution>()
  #isBrokenOff = false

  constructor(
    resources: ExecutionResources,
    options: {
      logger: Logger
      /** Told of an attempt that leaves its task to somebody else, with the reason of its abort. */
      onGivenUp: (reason: GatewayError | undefined) => void
    },
  ) {
    this.#resources = resources
    this.#logger = options.logger
    this.#onGivenUp = options.onGivenUp
  }

  get size(): number {
    return this.#running.size
  }

  [Symbol.iterator](): Iterator<Execution> {
    return this.#running.values().values()
  }

  /** Runs one attempt; see `RunTask`. Never rejects. */
  async run(assignment: Assignment, seat: Seat): Promise<'settled' | 'ended' | 'left' | 'lost'> {
    if (this.#isBrokenOff) {
      seat.give()
      return 'left'
    }
    const execution = new Execution(this.#resources, assignment, seat)
    this.#running.add(execution)
    try {
      const closed = await execution.run(() => seat.give())
      if (closed) return execution.hasSettled ? 'settled' : 'ended'
      this.#onGivenUp(execution.abortReason)
      return execution.abortReason?.code === 'GW_LEASE_LOST' ? 'lost' : 'left'
    } catch (error) {
      seat.give()
      const { sessionId, messageId } = assignment.header
      this.#logger.error({ err: error, sessionId, messageId }, 'the execution of a task failed')
      return 'left'
    } finally {
      this.#running.delete(execution)
      execution.release()
    }
  }

  /** Breaks all off, and begins no other: what was taken before may still be on its way here. */
  abortAll(reason: GatewayError): void {
    this.#isBrokenOff = true
    for (const execution of this.#running.values()) execution.abort(reason)
  }

  /**
   * Tells an attempt that it is cancelled; by force it has its end already. What names no attempt that runs here comes
   * too late, or is not of our making: answers false, and the records know better.
   */
  cancel({ header, targetMessageId, targetExecutionId, reason, requestedBy, cancelMode }: CancelTaskCommand): boolean {
    for (const execution of this.#running.values()) {
      const { sessionId, messageId, fence } = execution.ref
      if (sessionId !== header.sessionId || messageId !== targetMessageId || fence !== targetExecutionId) continue
      execution.cancel({ reason, requestedBy })
      if (cancelMode === 'force') execution.lose(endedFence(fence, 'CANCELLED'))
      return true
    }
    return false
  }
}
