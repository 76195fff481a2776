import { setMaxListeners } from 'node:events'
import type { TaskEnder } from '../dispatch/task-ender.ts'
import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { isOfOneItem, runApart } from '../redis/apart.ts'
import { Service } from '../service.ts'
import type { Agenda, TakenItem } from '../store/agenda.ts'
import { type AgendaItem, type ExpiryItem, hasEnvelope, type ReadyItem } from '../store/agenda-items.ts'
import type { ControlWriter } from '../store/control-writer.ts'
import { ownerOf } from '../store/fence.ts'
import type { Journals } from '../store/journals.ts'
import type { LeftEntries, LeftTask } from '../store/left-entries.ts'
import type { Stage, Stages } from '../store/stages.ts'
import { sleep } from '../util/sleep.ts'
import { Patrol } from './patrol.ts'
import { type TakenTask, Upcoming } from './upcoming.ts'

/** Standing by, so that not all come at once when a keeper is gone. */
const STANDBY_JITTER_MS = 200
const RETRY_MS = 500
/** So many tasks go to their streams in one write: the server works on one while the next is put together. */
const WRITE_ITEMS = 250
/** More of them are struck out only this much later, in ms: what else is due at that moment goes first. */
const PROMPTLY_STRUCK = 50
const STRIKE_AFTER_MS = 100

/** What a keeper knows of its shard. */
interface Held {
  readonly upcoming: Upcoming
  /** When to look at the agenda again, by `performance.now()`. */
  lookAt: number
  /** How often it was woken: a look that was under way then may have come too early. */
  wakes: number
}

/**
 * Does what is due on the agenda, for the shards this worker keeps, and stands by for the others: puts tasks on their
 * control streams, ends those that were not started in time, answers those that wait for a time. An item is struck out only after it was done; an entry
 * that is put on its stream twice runs once, by its turn. Tasks are taken some time before they are due and held until then; who
 * stops gives them back, and who dies leaves them to the next keeper.
 */
export class Promoter extends Service {
  readonly #agenda: Agenda
  readonly #stages: Stages
  readonly #control: ControlWriter
  readonly #ender: TaskEnder
  readonly #leftEntries: LeftEntries
  readonly #journals: Journals
  readonly #workerId: string
  readonly #logger: Logger
  /** One per shard. */
  readonly #patrols: readonly Patrol[]
  readonly #striking = new Set<Promise<unknown>>()
  readonly #stopping = new AbortController()
  readonly #held: ReadonlyMap<number, Held>

  constructor(options: {
    agenda: Agenda
    stages: Stages
    control: ControlWriter
    ender: TaskEnder
    leftEntries: LeftEntries
    journals: Journals
    workerId: string
    logger: Logger
  }) {
    super()
    // More crowds than ten may wait at a time to be struck out.
    setMaxListeners(0, this.#stopping.signal)
    this.#agenda = options.agenda
    this.#stages = options.stages
    this.#control = options.control
    this.#ender = options.ender
    this.#leftEntries = options.leftEntries
    this.#journals = options.journals
    this.#workerId = options.workerId
    this.#logger = options.logger
    this.#held = new Map(this.#agenda.shards.map((shard) => [shard, { upcoming: new Upcoming(), lookAt: 0, wakes: 0 }]))
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
    for (const held of this.#held.values()) {
      held.lookAt = 0
      held.wakes += 1
    }
    for (const patrol of this.#patrols) patrol.wake()
  }

  protected override async onStart(): Promise<void> {
    await Promise.all(this.#patrols.map((patrol) => patrol.start()))
  }

  protected override async onStop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all(this.#patrols.map((patrol) => patrol.stop()))
    await Promise.all(this.#striking)
    try {
      await Promise.all(this.#agenda.shards.map((shard) => this.#leave(shard)))
    } catch (error) {
      this.#logger.debug({ err: error }, 'the agenda was not handed over; another worker takes it after a while')
    }
  }

  /** The next keeper finds what this one has not done. */
  async #leave(shard: number): Promise<void> {
    await this.#agenda.giveBack(shard, this.#held.get(shard)?.upcoming.clear() ?? [])
    await this.#agenda.leave(shard, this.#workerId)
  }

  /** Does what is due; answers how long to rest, in ms. */
  async #keep(shard: number): Promise<number> {
    const held = this.#held.get(shard) as Held
    const { upcoming, lookAt, wakes } = held
    // Should anything fail, there is another look.
    held.lookAt = 0
    const next = performance.now() >= lookAt ? await this.#look(shard, upcoming) : lookAt
    await this.#promote(shard, upcoming.takeDue(performance.now()))
    if (held.wakes === wakes) held.lookAt = next
    return Math.ceil(Math.min(next, upcoming.nextAt) - performance.now())
  }

  /** Takes what is due or soon will be, and does what is no task to be put on a stream; answers when to look again. */
  async #look(shard: number, upcoming: Upcoming): Promise<number> {
    const lookedAt = performance.now()
    const { isKeeper, pauseMs, items } = await this.#agenda.take(shard, this.#workerId, upcoming.hasRoom)
    if (!isKeeper) return lookedAt + pauseMs + Math.random() * STANDBY_JITTER_MS
    if (items.length > 0) {
      const answeredAt = performance.now()
      upcoming.add(await this.#layDown(items.filter(isTask)), lookedAt, answeredAt)
      await this.#do(shard, items)
    }
    return lookedAt + pauseMs
  }

  /** Answers the same tasks, with the stages on which many of them lie. */
  async #layDown(tasks: readonly TakenTask[]): Promise<readonly TakenTask[]> {
    try {
      const stages = await this.#stages.layDown(tasks)
      const stageOf = new Map(stages.flatMap((stage) => stage.items.map((item) => [item, stage] as const)))
      return tasks.map((task) => ({ ...task, stage: stageOf.get(task.item) }))
    } catch (error) {
      this.#logger.debug({ err: error }, 'delayed tasks go to their streams one by one')
      return tasks
    }
  }

  async #do(shard: number, taken: readonly TakenItem[]): Promise<void> {
    const items = taken.flatMap(({ item }) => (item.kind === 'ready' ? [] : [item]))
    if (items.length === 0) return
    const expired: LeftTask[] = []
    const stuck = new Set<AgendaItem>()
    await Promise.all(
      items.map(async (item) => {
        try {
          if (item.kind === 'expiry') {
            const task = await this.#expire(item)
            if (task === 'later') stuck.add(item)
            else if (task !== undefined) expired.push(task)
          }
          // Without its payload the item was struck out meanwhile.
          if (item.kind === 'answer' && item.result !== '') await this.#journals.answer(item, item.op, item.result)
        } catch (error) {
          this.#leaveStuck(shard, error)
          stuck.add(item)
        }
      }),
    )
    const done = items.filter((item) => !stuck.has(item))
    this.#strikeOut(shard, done, () => this.#clear(expired))
  }

  /** What a key of another kind keeps from being done stays on the agenda until that is mended, and keeps no others. */
  #leaveStuck(shard: number, error: unknown): void {
    if (!isOfOneItem(error)) throw error
    this.#logger.warn({ shard, reason: errorMessage(error) }, 'what is due cannot be done now, and stays on the agenda')
  }

  /** Puts tasks on their streams, in their order. */
  async #promote(shard: number, tasks: readonly TakenTask[]): Promise<void> {
    if (tasks.length === 0) return
    const stages = new Set(tasks.flatMap(({ stage }) => stage ?? []))
    const whole = tasks.filter(({ item }) => hasEnvelope(item))
    const single = whole.filter(({ stage }) => stage === undefined)
    const stuck = await Promise.all([
      ...[...stages].map((stage) => this.#open(shard, stage)),
      this.#write(
        shard,
        single.map(({ item }) => item),
      ),
    ])
    const left = new Set(stuck.flat())
    const done = whole.filter(({ item }) => !left.has(item))
    this.#strikeOut(
      shard,
      done.map(({ item }) => item),
    )
    for (const { item } of tasks) {
      if (!hasEnvelope(item)) this.#strikeOut(shard, [item], () => this.#seeOff(item))
    }
  }

  /** Who cancelled it may have died on the way. */
  async #seeOff({ sessionId, messageId, turn }: ReadyItem): Promise<void> {
    if (await this.#ender.finishTidy({ sessionId, messageId })) return
    const about = { sessionId, messageId, turn }
    this.#logger.error(about, 'a task on the agenda has lost its envelope and cannot be started')
  }

  /** Answers those that could not be put on their stream. */
  async #open(shard: number, stage: Stage): Promise<readonly ReadyItem[]> {
    try {
      if (await this.#stages.open(stage)) return []
    } catch (error) {
      this.#leaveStuck(shard, error)
      return stage.items
    }
    return this.#write(shard, stage.items)
  }

  /** Answers those that could not be put on their streams. */
  async #write(shard: number, items: readonly ReadyItem[]): Promise<readonly ReadyItem[]> {
    const writes: Promise<(string | null | Error)[]>[] = []
    for (let from = 0; from < items.length; from += WRITE_ITEMS) {
      const part = items.slice(from, from + WRITE_ITEMS)
      const writing = runApart(part, (some) => this.#control.enqueue(some))
      writes.push(writing.catch((error: unknown) => part.map(() => error as Error)))
    }
    const written = (await Promise.all(writes)).flat()
    const failure = written.find((answer) => answer instanceof Error)
    if (failure === undefined) return []
    this.#leaveStuck(shard, failure)
    return items.filter((_, index) => written[index] instanceof Error)
  }

  /**
   * Goes on behind the next look, which does not see these items: what is not struck out is due again only after a while.
   *
   * @param before - What is still to be done for them; where it fails they come again.
   */
  #strikeOut(shard: number, items: readonly AgendaItem[], before: () => Promise<unknown> = nothing): void {
    if (items.length === 0) return
    const striking: Promise<unknown> = this.#strike(shard, items, before).finally(() => this.#striking.delete(striking))
    this.#striking.add(striking)
  }

  async #strike(shard: number, items: readonly AgendaItem[], before: () => Promise<unknown>): Promise<void> {
    if (items.length > PROMPTLY_STRUCK) await sleep(STRIKE_AFTER_MS, this.#stopping.signal)
    try {
      await before()
      await this.#agenda.remove(shard, items)
    } catch (error) {
      const reason = errorMessage(error)
      this.#logger.warn({ shard, reason }, 'what was done stays on the agenda, and is done again')
    }
  }

  /** What a key of another kind keeps from being done will not be done by trying again. */
  async #clear(expired: readonly LeftTask[]): Promise<void> {
    try {
      await this.#leftEntries.clear(expired)
    } catch (error) {
      if (!isOfOneItem(error)) throw error
      this.#logger.warn({ reason: errorMessage(error) }, 'entries of expired tasks stay until a worker comes for them')
    }
  }

  /**
   * Answers the task if it was ended while nobody owned it, by this or by somebody else; `later` where its entry is still to
   * be expected.
   */
  async #expire({ sessionId, messageId, priority }: ExpiryItem): Promise<LeftTask | 'later' | undefined> {
    const answer = await this.#ender.expire({ sessionId, messageId })
    if (answer.status !== 'ended' && answer.status !== 'finished') return undefined
    const { status, outline } = answer
    if (status === 'finished' && ownerOf(outline.fence) !== '') return undefined
    if (status === 'ended')
      this.#logger.info({ sessionId, messageId }, 'a task that was not started in time has its end')
    const turn = await this.#ender.tidy(outline, 'EXPIRED')
    return turn === 'in-hand' ? 'later' : { sessionId, messageId, priority, hasCome: turn === 'not-noted' }
  }
}

async function nothing(): Promise<void> {
  // As a rule all is done by then.
}

function isTask(taken: TakenItem): taken is TakenTask {
  return taken.item.kind === 'ready'
}
