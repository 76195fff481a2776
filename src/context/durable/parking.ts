import type { Logger } from '../../logger.ts'
import type { TaskPlugins } from '../../plugins/task-plugins.ts'
import type { TaskRef } from '../../protocol/ids.ts'
import type { LaneName } from '../../redis/keys.ts'
import type { Refusal } from '../../store/journal-notes.ts'
import type { Journals } from '../../store/journals.ts'
import { Farewells } from './farewells.ts'
import type { Journal } from './journal.ts'
import { PluginNotes } from './plugin-notes.ts'
import type { Results } from './results.ts'

/** The task that is to be parked. */
export interface ParkedTask {
  readonly resources: { readonly journals: Journals }
  readonly ref: TaskRef & { readonly fence: string }
  readonly agentType: string
  readonly journal: Journal
  readonly results: Results
  readonly emitter: { readonly isIdle: boolean; flushed(): Promise<void> }
  readonly logger: Logger
  /** Undefined where there are none. */
  readonly plugins?: TaskPlugins | undefined
  /** The task is parked: this attempt is over. */
  left(): void
  /** The task is not this attempt's to park. */
  refused(refusal: Refusal): void
}

/** How a task is put by, and what may keep it. */
export interface ParkingOptions {
  readonly priority: LaneName
  /** The envelope, for the time after. */
  readonly data: string
  /** True if something runs that is no wait: a tool. */
  readonly isBusy: () => boolean
}

/**
 * How a task leaves memory: when it does nothing but wait for what survives this process, its handler has said farewell, and
 * no result has come meanwhile.
 */
export class Parking {
  readonly #task: ParkedTask
  readonly #options: ParkingOptions
  readonly #farewells = new Farewells()
  #working = 0
  #pluginNotes: PluginNotes | undefined

  constructor(task: ParkedTask, options: ParkingOptions) {
    this.#task = task
    this.#options = options
  }

  /** While it has not been called back the task is not parked. */
  working(): () => void {
    this.#working += 1
    return () => {
      this.#working -= 1
    }
  }

  /** See `AgentContext.onSuspend`. */
  onSuspend(callback: () => void | Promise<void>): void {
    this.#farewells.add(callback)
  }

  /** True if nothing is under way but waits, and so much {@link working | work} that is known. */
  isAtRest(known: number): boolean {
    const { emitter, results } = this.#task
    // With what is on its way to it, the handler goes on.
    return this.#working === known && !this.#options.isBusy() && emitter.isIdle && results.isIdle
  }

  /** True if the task does nothing but wait for what survives this process. */
  get canPark(): boolean {
    return this.#onlyWaits(0)
  }

  /** The same, apart from work that is known. */
  #onlyWaits(known: number): boolean {
    const { waits, isOver } = this.#task.results
    return this.isAtRest(known) && !isOver && waits.size > 0 && !waits.has('local')
  }

  /** Parks the task unless a result has come; it starts again, from the top, when one comes. */
  async park(): Promise<void> {
    if (!this.canPark) return
    const task = this.#task
    const done = this.working()
    try {
      await this.#farewells.say(() => task.emitter.flushed(), task.logger)
      await this.#notePlugins()
      // A result may have come meanwhile, and the handler gone on: nothing would wake it again. One that comes from here
      // on is found by the script.
      if (!this.#onlyWaits(1)) return
      const { waits } = task.results
      const { priority, data } = this.#options
      const waitsFor = waits.has('user') ? 'user' : waits.has('agent') ? 'agent' : 'timer'
      const parking = { waitsFor, capability: task.agentType, priority, data, ops: waits.ops, ...task.ref } as const
      const answer = await task.resources.journals.park(parking)
      if (answer.status === 'ready') await task.results.look()
      else if (answer.status === 'parked') task.left()
      else task.refused(answer)
    } finally {
      done()
    }
  }

  async #notePlugins(): Promise<void> {
    const { plugins, journal, results } = this.#task
    if (plugins === undefined) return
    this.#pluginNotes ??= new PluginNotes(journal, results)
    await this.#pluginNotes.note(plugins.snapshot.versions)
  }
}
