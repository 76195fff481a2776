import { cancelledDone, expiredDone } from '../protocol/endings.ts'
import { type EventBody, eventEncoder } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import type { Agenda, TurnAfterCancel } from '../store/agenda.ts'
import type { Departure } from '../store/control-writer.ts'
import type { CommitAnswer, DataWriter } from '../store/data-writer.ts'
import { endedFence, entryOf, epochOf, isEnded, isHeldBack, isSuspended, isUnbound } from '../store/fence.ts'
import type { LeftEntries } from '../store/left-entries.ts'
import type { TaskOutline, TaskRecords } from '../store/task-records.ts'

/** The end of a task that nobody runs, as its reader sees it. */
type OutsideEnd = EventBody & { type: 'done'; status: 'CANCELLED' | 'EXPIRED' }

/** What became of the wish to end a task from outside; `outline` is what it was when the answer was true. */
export type EndAnswer =
  /** `ops`: what it waited for, as far as the agenda may bring it. */
  | { readonly status: 'ended'; readonly outline: TaskOutline; readonly ops: readonly string[] }
  | { readonly status: 'finished' | 'running'; readonly outline: TaskOutline }
  | { readonly status: 'missing' }

/**
 * Ends tasks on behalf of those who do not run them: by the same commit as an owner's, with the ownership that was read
 * as the one that must still hold. When it does not any more, all is looked at again.
 */
export class TaskEnder {
  readonly #records: TaskRecords
  readonly #writer: DataWriter
  readonly #agenda: Agenda
  readonly #leftEntries: LeftEntries

  constructor(options: { records: TaskRecords; writer: DataWriter; agenda: Agenda; leftEntries: LeftEntries }) {
    this.#records = options.records
    this.#writer = options.writer
    this.#agenda = options.agenda
    this.#leftEntries = options.leftEntries
  }

  /**
   * Ends a task that nobody runs; with `force` also one that somebody runs, whose further writes are then refused.
   *
   * @throws GatewayError `GW_REDIS_FAILED` when Redis did not answer; the task may then have ended or not.
   */
  async end(ref: TaskRef, done: OutsideEnd, { force = false }: { force?: boolean } = {}): Promise<EndAnswer> {
    for (;;) {
      const outline = await this.#records.peek(ref)
      if (outline === null) return { status: 'missing' }
      if (isEnded(outline.fence)) return this.#finished(outline)
      if (!force && !isUnbound(outline.fence)) return { status: 'running', outline }
      // Its journal goes with its end.
      const ops = isSuspended(outline.fence) ? await this.#records.openOperations(ref) : []
      if ((await this.#commit(outline, done)).ok) return { status: 'ended', outline, ops }
    }
  }

  /** Ends a task that waits for its first start as EXPIRED, or as CANCELLED if it is. */
  async expire(ref: TaskRef): Promise<EndAnswer> {
    for (;;) {
      const outline = await this.#records.peek(ref)
      if (outline === null) return { status: 'missing' }
      if (isEnded(outline.fence)) return this.#finished(outline)
      if (!outline.canExpire || outline.attempt > 0 || !isUnbound(outline.fence)) return { status: 'running', outline }
      const answer = await this.#commit(outline, expiredDone())
      if (answer.ok) return { status: 'ended', outline, ops: [] }
      if (answer.cancel !== undefined) return this.end(ref, cancelledDone(answer.cancel.reason))
    }
  }

  /**
   * Strikes out the appointments of a task that ended here, but for its expiry if that was its end: the keeper has it in hand,
   * and more to do. Takes its entry off its stream where nobody may come to see it off: see {@link LeftEntries}. Its record
   * goes in its time then; where an entry is on its way, or cannot be ruled out, it stays until that is seen off. Answers
   * what has become of the turn for which it waited.
   *
   * @param outline - What the task was before its end; or after it, where somebody else has ended it and died, or is as far as this.
   * @param ops - What it waited for, as far as the agenda may bring it.
   */
  async tidy(
    outline: TaskOutline,
    status: OutsideEnd['status'],
    ops: readonly string[] = [],
  ): Promise<TurnAfterCancel> {
    const { fence } = outline
    const entryId = entryOf(fence)
    if (ops.length > 0) await this.#agenda.strikeOut(outline, { ops })
    const turn = epochOf(fence)
    const became = await this.#agenda.cancel(outline, turn, { keepsExpiry: status === 'EXPIRED' })
    const isTakenBack = became === 'taken-back'
    if (isTakenBack) await this.#records.retire(outline, isEnded(fence) ? fence : endedFence(fence, status))
    // What expires comes in crowds; the keeper sees to them together.
    else if (status === 'CANCELLED') await this.#leftEntries.clearOne(outline, became === 'not-noted')
    // The entry of its last run, if that has died before it was acked. Where another is on its way, this one still sees it off.
    if (entryId !== '' && (isTakenBack || isSuspended(fence))) await this.#leftEntries.forget(outline, entryId)
    if (isTakenBack) await this.#agenda.strikeOut(outline, { turn })
    return became
  }

  /**
   * Goes on for one who died in {@link tidy} when he had taken the task's turn back. False if it has no end, so that
   * something else has become of what was noted for it.
   */
  async finishTidy(ref: TaskRef): Promise<boolean> {
    const outline = await this.#records.peek(ref)
    if (outline === null || !isEnded(outline.fence)) return false
    await this.#records.retire(outline, outline.fence)
    return true
  }

  /**
   * Takes an entry back that was written for a task which was held back or had its end by then, unless a worker was handed
   * it: should nobody take it before the record expires, the task would run again. Not while the record waits for an entry: a
   * record whose making was carried out twice, the first answer being lost, looks as if it had been there, and this one may be
   * the only one.
   */
  async takeBack({ task, priority }: Pick<Departure, 'task' | 'priority'>, entryId: string): Promise<void> {
    const outline = await this.#records.peek(task)
    if (outline === null || outline.awaitsEntry) return
    if (!isEnded(outline.fence) && !isHeldBack(outline.fence)) return
    await this.#leftEntries.withdraw({ capability: task.agentType, priority }, entryId)
  }

  async #finished(outline: TaskOutline): Promise<EndAnswer> {
    await this.#writer.tellAgain(outline)
    return { status: 'finished', outline }
  }

  async #commit(outline: TaskOutline, done: OutsideEnd): Promise<CommitAnswer> {
    const { sessionId, messageId, fence, attempt } = outline
    const event = eventEncoder(outline, outline.agentType)(done, attempt)
    const fields = done.error === undefined ? undefined : { error: JSON.stringify(done.error) }
    const end = { fence: endedFence(fence, done.status), fields: { ...fields } }
    const answer = await this.#writer.commit(() => ({ sessionId, messageId, fence, first: 0, events: [event], end }))
    if (answer.ok && answer.tells !== undefined) await this.#writer.tell(answer.tells)
    return answer
  }
}
