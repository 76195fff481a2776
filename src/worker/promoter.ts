import type { TaskEnder } from '../dispatch/task-ender.ts'
import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import type { Agenda, AgendaItem, ReadyItem } from '../store/agenda.ts'
import type { ControlWriter } from '../store/control-streams.ts'
import type { Journals } from '../store/journals.ts'
import { Patrol } from './patrol.ts'

/** Standing by, so that not all come at once when a keeper is gone. */
const STANDBY_JITTER_MS = 200
const RETRY_MS = 500

/**
 * Does what is due on the agenda, for the shards this worker keeps, and stands by for the others: puts tasks on their
 * control streams, ends those that were not started in time, answers those that wait for a time. An item is struck out only after it was done; an entry
 * that is put on its stream twice runs once, by its turn.
 */
export class Promoter extends Service {
  readonly #agenda: Agenda
  readonly #control: ControlWriter
  readonly #ender: TaskEnder
  readonly #journals: Journals
  readonly #workerId: string
  readonly #logger: Logger
  /** One per shard. */
  readonly #patrols: readonly Patrol[]
  readonly #striking = new Set<Promise<unknown>>()

  constructor(options: {
    agenda: Agenda
    control: ControlWriter
    ender: TaskEnder
    journals: Journals
    workerId: string
    logger: Logger
  }) {
    super()
    this.#agenda = options.agenda
    this.#control = options.control
    this.#ender = options.ender
    this.#journals = options.journals
    this.#workerId = options.workerId
    this.#logger = options.logger
    this.#patrols = this.#agenda.shards.map((shard) => {
      return new Patrol({
        round: () => this.#keep(shard),
        retryMs: () => RETRY_MS,
        complaint: 'keeping the agenda failed',
        details: { shard },
        logger: options.logger,
      })
    })
  }

  /** Looks again at once: something is due earlier than was known. */
  wake(): void {
    for (const patrol of this.#patrols) patrol.wake()
  }

  protected override async onStart(): Promise<void> {
    await Promise.all(this.#patrols.map((patrol) => patrol.start()))
  }

  protected override async onStop(): Promise<void> {
    await Promise.all(this.#patrols.map((patrol) => patrol.stop()))
    await Promise.all(this.#striking)
    try {
      await Promise.all(this.#agenda.shards.map((shard) => this.#agenda.leave(shard, this.#workerId)))
    } catch (error) {
      this.#logger.debug({ err: error }, 'the agenda was not handed over; another worker takes it after a while')
    }
  }

  /** Does what is due; answers how long to rest, in ms. */
  async #keep(shard: number): Promise<number> {
    const lookedAt = performance.now()
    const { isKeeper, pauseMs, items } = await this.#agenda.take(shard, this.#workerId)
    if (!isKeeper) return pauseMs + Math.random() * STANDBY_JITTER_MS
    if (items.length > 0) await this.#do(shard, items)
    return pauseMs - (performance.now() - lookedAt)
  }

  async #do(shard: number, items: readonly AgendaItem[]): Promise<void> {
    const ready = items.filter((item): item is ReadyItem => item.kind === 'ready')
    const lost = ready.filter(({ capability }) => capability === '')
    for (const { sessionId, messageId, turn } of lost)
      this.#logger.error(
        { sessionId, messageId, turn },
        'a task on the agenda has lost its envelope and cannot be started',
      )
    await this.#control.enqueue(ready.filter(({ capability }) => capability !== ''))
    await Promise.all(
      items.map(async (item) => {
        if (item.kind === 'expiry') await this.#expire(item)
        // Without its payload the item was struck out meanwhile.
        if (item.kind === 'answer' && item.result !== '') await this.#journals.answer(item, item.op, item.result)
      }),
    )
    this.#strikeOut(shard, items)
  }

  /** Goes on behind the next look, which does not see these items: what is not struck out is due again only after a while. */
  #strikeOut(shard: number, items: readonly AgendaItem[]): void {
    const striking: Promise<unknown> = this.#agenda.remove(shard, items).then(
      () => this.#striking.delete(striking),
      (error: unknown) => {
        this.#striking.delete(striking)
        this.#logger.warn(
          { shard, reason: errorMessage(error) },
          'what was done stays on the agenda, and is done again',
        )
      },
    )
    this.#striking.add(striking)
  }

  async #expire({ sessionId, messageId }: AgendaItem): Promise<void> {
    const { status } = await this.#ender.expire({ sessionId, messageId })
    if (status === 'ended')
      this.#logger.info({ sessionId, messageId }, 'a task that was not started in time has its end')
  }
}
