import type { Execution } from '../execution/execution.ts'
import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import type { TaskRecords } from '../store/task-records.ts'
import { Patrol } from './patrol.ts'

/**
 * Looks from time to time at the records of what runs here: a handler that says nothing still learns that its task was
 * cancelled or went to another owner, even if the wake-up for it was lost.
 */
export class TaskWatch extends Service {
  readonly #records: TaskRecords
  readonly #running: () => Iterable<Execution>
  readonly #patrol: Patrol

  constructor(options: {
    records: TaskRecords
    running: () => Iterable<Execution>
    periodMs: number
    logger: Logger
  }) {
    super()
    this.#records = options.records
    this.#running = options.running
    this.#patrol = new Patrol({
      round: async () => {
        await this.look([...this.#running()])
        return options.periodMs
      },
      retryMs: () => options.periodMs,
      complaint: 'looking at the running tasks failed',
      logger: options.logger,
    })
  }

  /** Looks at once: something has happened to a task that may run here. */
  wake(): void {
    this.#patrol.wake()
  }

  /** Looks now. */
  async look(executions: readonly Execution[]): Promise<void> {
    if (executions.length === 0) return
    const found = await this.#records.inspect(executions.map(({ ref }) => ref))
    found.forEach((inspection, index) => {
      const execution = executions[index] as Execution
      if (inspection.status === 'cancelled') execution.cancel(inspection.cancel)
      if (inspection.status === 'lost') execution.lose(inspection.holder)
    })
  }

  protected override onStart(): Promise<void> {
    return this.#patrol.start()
  }

  protected override onStop(): Promise<void> {
    return this.#patrol.stop()
  }
}
