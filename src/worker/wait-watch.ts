import type { DurableTask } from '../context/durable/durable-task.ts'
import type { WaitDesk } from '../context/durable/wait-desk.ts'
import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import { Patrol } from './patrol.ts'
import { MOST_AWAY, type Slots } from './slots.ts'

/** Longest time between two rounds, in ms. */
const PERIOD_MS = 1_000
const LEAST_PERIOD_MS = 10
/** The same once it is in a hurry. */
const HURRIED_MS = 50
/** Rounds in the time after which a task is suspended. */
const ROUNDS = 4
/** A wait of so long is looked after, in ms: the wake-up for it may have been lost. */
const LOOK_AFTER_MS = 5_000
/** Tasks that are parked or looked after at a time. */
const AT_A_TIME = 200

/**
 * Looks after the tasks that wait in this worker: parks those that have waited for long, or all when there are too many or
 * the worker stops, and reads the results of which it was not told.
 */
export class WaitWatch extends Service {
  readonly #desk: WaitDesk<DurableTask>
  readonly #slots: Slots
  readonly #suspendAfterMs: number
  readonly #lookedAt = new WeakMap<DurableTask, number>()
  readonly #patrol: Patrol
  #isHurried = false

  constructor(options: { desk: WaitDesk<DurableTask>; slots: Slots; suspendAfterMs: number; logger: Logger }) {
    super()
    this.#desk = options.desk
    this.#slots = options.slots
    this.#suspendAfterMs = options.suspendAfterMs
    this.#patrol = new Patrol({
      round: async () => {
        await this.#round()
        return this.#restMs()
      },
      retryMs: () => this.#restMs(),
      complaint: 'looking after waiting tasks failed',
      logger: options.logger,
    })
  }

  /** From now on every task that only waits is parked at once: another worker goes on with it. */
  hurry(): void {
    this.#isHurried = true
    this.#patrol.wake()
  }

  protected override onStart(): Promise<void> {
    return this.#patrol.start()
  }

  protected override onStop(): Promise<void> {
    return this.#patrol.stop()
  }

  #restMs(): number {
    const periodMs = Math.max(Math.min(PERIOD_MS, this.#suspendAfterMs / ROUNDS), LEAST_PERIOD_MS)
    return this.#isHurried ? Math.min(periodMs, HURRIED_MS) : periodMs
  }

  async #round(): Promise<void> {
    const limitMs = this.#isHurried || this.#slots.away > MOST_AWAY / 2 ? 0 : this.#suspendAfterMs
    const waiting = [...this.#desk.tasks].filter(({ waitedMs }) => waitedMs > 0)
    const ripe = waiting.filter((task) => task.waitedMs >= limitMs && task.canPark)
    await inParts(ripe, (task) => task.park())
    const now = performance.now()
    const old = waiting.filter((task) => {
      return Math.min(task.waitedMs, now - (this.#lookedAt.get(task) ?? 0)) > LOOK_AFTER_MS
    })
    for (const task of old) this.#lookedAt.set(task, now)
    await inParts(old, (task) => task.look())
  }
}

async function inParts<Item>(items: readonly Item[], run: (item: Item) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < items.length; from += AT_A_TIME) {
    await Promise.all(items.slice(from, from + AT_A_TIME).map(run))
  }
}
