import type { GatewayError } from '../errors.ts'
import type { Assignment } from '../execution/assignment.ts'
import type { Ending } from '../execution/ending.ts'
import { Execution, type ExecutionResources } from '../execution/execution.ts'
import type { Logger } from '../logger.ts'
import type { CancelTaskCommand } from '../protocol/command.ts'
import { endedFence } from '../store/fence.ts'
import { Bag } from '../util/bag.ts'
import type { Seat } from './slots.ts'

/** What becomes of a task that is not run here: somebody else will end it. */
const LEFT: Ending = { how: Promise.resolve('left') }

/** The attempts that run in this worker. */
export class Executions {
  readonly #resources: ExecutionResources
  readonly #logger: Logger
  readonly #running = new Bag<Execution>()
  #isBrokenOff = false

  constructor(resources: ExecutionResources, logger: Logger) {
    this.#resources = resources
    this.#logger = logger
  }

  get size(): number {
    return this.#running.size
  }

  [Symbol.iterator](): Iterator<Execution> {
    return this.#running.values().values()
  }

  /**
   * Runs one attempt: gives its seat back when its handler has come to its end, and resolves then, with what is on its way.
   * Never rejects.
   */
  async run(assignment: Assignment, seat: Seat): Promise<Ending> {
    if (this.#isBrokenOff) {
      seat.give()
      return LEFT
    }
    const execution = new Execution(this.#resources, assignment, seat)
    this.#running.add(execution)
    try {
      return await execution.run()
    } catch (error) {
      execution.release()
      const { sessionId, messageId } = assignment.header
      this.#logger.error({ err: error, sessionId, messageId }, 'the execution of a task failed')
      return LEFT
    } finally {
      this.#running.delete(execution)
      seat.give()
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
