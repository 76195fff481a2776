import { setImmediate as nextTurn } from 'node:timers/promises'
import { errorMessage } from '../../errors.ts'
import type { Logger } from '../../logger.ts'
import type { TaskRef } from '../../protocol/ids.ts'
import { isObject } from '../../protocol/json.ts'
import type { NoteAnswer } from '../../store/journal-notes.ts'
import type { Journals } from '../../store/journals.ts'
import { isElsewhere, parseResult, type RecordedResult } from '../../store/recorded-result.ts'
import { OneAtATime } from '../../util/one-at-a-time.ts'
import { sleep } from '../../util/sleep.ts'
import { type Arrival, HandOver } from './hand-over.ts'
import type { Journal, Operation } from './journal.ts'
import type { Seat } from './seat.ts'
import { Waits } from './waits.ts'

/** The pause before a read that failed is tried again, in ms. */
const LOOK_AGAIN_MS = 200

/** The task whose results they are. */
export interface ResultsOwner {
  readonly resources: { readonly journals: Journals }
  readonly ref: TaskRef & { readonly fence: string }
  readonly journal: Journal
  readonly emitter: { sum(): string }
  readonly logger: Logger
  /** The task is not parked until what this answers is called. */
  working(): () => void
  /** The result that an answer to a note holds, or ''; throws what a refusal means. */
  noted(answer: NoteAnswer): string
}

/**
 * The results of one task on their way to its handler: those that it records itself, those that others complete, and
 * those that earlier runs have recorded. Each has its order, in which all of them are handed over. `newest` is the highest
 * one that this process has seen; a result that comes with a gap before it makes it look what has come besides.
 */
export class Results {
  readonly waits: Waits
  readonly #task: ResultsOwner
  readonly #handOver = new HandOver()
  #newest: number
  /** Settles when the results of this task's own that were given until now are recorded. */
  #recording: Promise<void> | undefined
  readonly #looks = new OneAtATime(() => this.#lookOnce())
  #isOver = false

  constructor(task: ResultsOwner, seat: Seat) {
    this.#task = task
    this.#newest = task.journal.lastOrder
    this.waits = new Waits(seat, this.#handOver)
  }

  /** True if nothing that the task waits for matters any more. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** True if none is on its way to the handler. */
  get isIdle(): boolean {
    return this.#handOver.isIdle
  }

  /** The result of an operation is wanted, until what this answers is called. */
  expect(op: string): () => void {
    this.waits.expect(op)
    const came = this.#handOver.expect()
    return () => {
      came()
      this.waits.forget(op)
    }
  }

  /**
   * A recorded result, when it is its turn; a large one is read now.
   *
   * @param ready - Nothing overtakes it until this has settled, and it comes to nothing if that rejects.
   */
  async recorded(op: string, result: RecordedResult, ready?: Promise<unknown>): Promise<RecordedResult> {
    const whole = result.isElsewhere ? this.#read(op) : undefined
    await this.#handOver.replay(result.order, ready === undefined ? whole : Promise.all([ready, whole]))
    return (await whole) ?? result
  }

  async #read(op: string): Promise<RecordedResult> {
    const { resources, ref } = this.#task
    const results = await resources.journals.results(ref, [op])
    return parseResult(results.get(op) ?? '')
  }

  /** Records a result of this task's own; answers the one that is recorded, when those that came before it are handed over. */
  async close(op: Operation, value: unknown): Promise<RecordedResult> {
    const came = this.#handOver.expect()
    // The handler goes on with it: a task that is parked meanwhile would wake for something else only.
    const done = this.#task.working()
    let arrival: Arrival | undefined
    try {
      const before = this.#recording
      const recording = this.#record(op, value)
      this.#recording = recording.then(nothing, nothing)
      const result = await recording
      const { order } = result
      // On a Cluster the answer to an earlier batch may be late, since it waits for other nodes.
      await before
      arrival = this.#handOver.arrive(order)
      // The operations that are waited for may have results of which this process has not heard.
      if (order > this.#newest + 1 && this.#open.length > 0) await this.#lookBack()
      this.#newest = Math.max(this.#newest, order)
      const turn = this.#handOver.turn(arrival)
      if (turn !== undefined) await turn
      return result
    } finally {
      done()
      came()
      if (arrival !== undefined) this.#handOver.forget(arrival)
    }
  }

  /** Records what the handler does not see. */
  async note(op: Operation, value: unknown): Promise<void> {
    const { order } = await this.#record(op, value)
    // It is behind nothing; a gap before it stays one.
    if (order === this.#newest + 1) this.#newest = order
  }

  async #record(op: Operation, value: unknown): Promise<RecordedResult> {
    const { emitter, ref, resources } = this.#task
    const entry = op.entry === undefined ? op.json : ''
    // Of a large result a replay first knows all but the value itself.
    const short = isObject(value) ? JSON.stringify({ ...value, v: undefined }) : 'null'
    const note = { op: op.key, entry, result: JSON.stringify(value ?? null), short, sum: emitter.sum(), ...ref }
    const result = parseResult(this.#task.noted(await resources.journals.close(note)))
    // Nobody else can have written one, so what lies elsewhere is this.
    return result.isElsewhere ? { ...result, value: JSON.parse(note.result), isElsewhere: false } : result
  }

  /** A result has come that somebody else has recorded; `text` is '' if it must be read. */
  hear(op: string, text: string): void {
    if (this.#isOver) return
    const order = text === '' || isElsewhere(text) ? Number.POSITIVE_INFINITY : Number(text.split(' ', 1)[0])
    if (order > this.#newest + 1) {
      // Others have come before it, of which this process has not heard: a replay would see them in that order.
      void this.look()
      return
    }
    this.#take(op, parseResult(text))
  }

  #take(op: string, result: RecordedResult): void {
    this.#newest = Math.max(this.#newest, result.order)
    // What the handler is about to ask for must not be overtaken, either, by what comes next.
    if (!this.waits.hear(op, result)) this.#task.journal.learn(op, result)
  }

  /** The operations of which a result is wanted, or will be. */
  get #open(): string[] {
    return [...this.waits.all, ...this.#task.journal.unasked]
  }

  /** Reads what has come of all that is wanted, and hands it over in the order in which it came; false if it cannot. */
  look(): Promise<boolean> {
    return this.#looks.run()
  }

  async #lookOnce(): Promise<boolean> {
    const { resources, ref, logger } = this.#task
    try {
      const texts = await resources.journals.results(ref, this.#open)
      // Own results that were recorded before have the answer by now, and go first where they came first.
      await this.#recording
      await nextTurn()
      const results = [...texts].map(([op, text]) => [op, parseResult(text)] as const)
      for (const [op, result] of results.sort(([, a], [, b]) => a.order - b.order)) {
        if (!this.#isOver) this.#take(op, result)
      }
      return true
    } catch (error) {
      logger.warn({ reason: errorMessage(error) }, 'what a task waits for could not be read, looking again later')
      return false
    }
  }

  /** Looks until that has worked: what is found came before something that is to be handed over. */
  async #lookBack(): Promise<void> {
    while (!(await this.look()) && !this.#isOver) await sleep(LOOK_AGAIN_MS)
  }

  /** Nothing goes to the handler any more. */
  end(): void {
    this.#isOver = true
    this.waits.drop()
    this.#handOver.end()
  }
}

function nothing(): void {
  // How it came out is the affair of whoever recorded it.
}
