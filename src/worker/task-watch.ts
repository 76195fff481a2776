import { errorMessage } from '../errors.ts'
import type { Execution } from '../execution/execution.ts'
import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import type { TaskRecords } from '../store/task-records.ts'
import { sleep } from '../util/sleep.ts'

/**
 * Looks from time to time at the records of what runs here: a handler that says nothing still learns that its task was
 * cancelled or went to another owner, even if the wake-up for it was lost.
 */
export class TaskWatch extends Service {
  readonly #records: TaskRecords
  readonly #running: () => Iterable<Execution>
  readonly #periodMs: number
  readonly #logger: Logger
  readonly #stopping = new AbortController()
  #waking = new AbortController()
  #loop: Promise<void> = Promise.resolve()

  constructor(options: {
    records: TaskRecords
    running: () => Iterable<Execution>
    periodMs: number
    logger: Logger
  }) {
    super()
    this.#records = options.records
    this.#running = options.running
    this.#periodMs = options.periodMs
    this.#logger = options.logger
  }

  /** Looks at once: something has happened to a task that may run here. */
  wake(): void {
    const waking = this.#waking
    this.#waking = new AbortController()
    waking.abort()
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

  protected override onStart(): void {
    this.#loop = this.#run()
  }

  protected override async onStop(): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await this.#loop
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    let failing = false
    let waking = this.#waking.signal
    for (;;) {
      await sleep(this.#periodMs, waking)
      if (signal.aborted) return
      // Who wakes it while it looks wants another look.
      waking = this.#waking.signal
      try {
        await this.look([...this.#running()])
        failing = false
      } catch (error) {
        if (!failing && !signal.aborted)
          this.#logger.warn({ reason: errorMessage(error) }, 'looking at the running tasks failed, trying again')
        failing = true
      }
    }
  }
}
