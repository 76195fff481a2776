import { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { encodeCommand } from '../protocol/codec.ts'
import { type CancelMode, CancelTaskCommand } from '../protocol/command.ts'
import { cancelledDone } from '../protocol/endings.ts'
import { newMessageId, newTraceId, type TaskRef } from '../protocol/ids.ts'
import type { CancelRequest } from '../store/cancel-request.ts'
import { isCancelled, isUnbound, ownerOf } from '../store/fence.ts'
import type { InboxWriter } from '../store/inbox.ts'
import type { KinReader, TaskKin } from '../store/kin.ts'
import type { TaskRecords } from '../store/task-records.ts'
import { type Kinship, Kinships } from './kinships.ts'
import type { EndAnswer, TaskEnder } from './task-ender.ts'

/** What became of the wish to cancel a task; after either of the first two it ends as CANCELLED. */
export type CancelStatus = 'CANCELLED' | 'CANCEL_REQUESTED' | 'ALREADY_FINISHED' | 'NOT_FOUND'

/** How to cancel. */
export interface CancelWish {
  readonly reason: string
  readonly requestedBy: string
  /**
   * `graceful`: the handler's signal aborts, and the task ends when the handler does. `force`: the task ends at once, and
   * whatever its handler still writes is refused.
   */
  readonly mode: CancelMode
}

/** More rounds than a family that is cut off from new members can need. */
const MOST_ROUNDS = 100

/**
 * Cancels tasks, whoever runs them. What nobody runs ends here and now. For what somebody runs a flag in the record says
 * that it can only end as cancelled, and then its worker is woken; a wake-up that gets lost is made up for by the
 * worker's own look at the flag.
 */
export class Canceller {
  readonly #records: TaskRecords
  readonly #kinships: Kinships
  readonly #ender: TaskEnder
  readonly #inboxes: InboxWriter
  readonly #logger: Logger

  constructor(options: {
    records: TaskRecords
    kin: KinReader
    ender: TaskEnder
    inboxes: InboxWriter
    logger: Logger
  }) {
    this.#records = options.records
    this.#kinships = new Kinships(options.kin)
    this.#ender = options.ender
    this.#inboxes = options.inboxes
    this.#logger = options.logger
  }

  /**
   * Cancels a task and all that was sent on its behalf in the same session. With another end than CANCELLED nothing of it
   * is touched; after that one a repeated cancel goes on with what the first may have left.
   */
  async cancel(ref: TaskRef, wish: CancelWish): Promise<CancelStatus> {
    const status = await this.#cancelOne(ref, wish)
    if (status !== 'NOT_FOUND' && (status !== 'ALREADY_FINISHED' || (await this.#isCancelled(ref)))) {
      await this.#cancelBelow(ref, wish)
    }
    return status
  }

  /** Cancels every task of a session that has no end yet; answers what became of each. */
  async cancelSession(sessionId: string, wish: CancelWish): Promise<ReadonlyMap<string, CancelStatus>> {
    const statuses = new Map<string, CancelStatus>()
    await this.#rounds(sessionId, wish, statuses, ({ all }) => all)
    return statuses
  }

  async #isCancelled(ref: TaskRef): Promise<boolean> {
    return isCancelled((await this.#records.peek(ref))?.fence ?? '')
  }

  /** Whom a cancelled task sent after its cancel is cancelled from birth; those from before are found here. */
  #cancelBelow({ sessionId, messageId }: TaskRef, wish: CancelWish): Promise<void> {
    return this.#rounds(sessionId, wish, new Map([[messageId, 'CANCELLED']]), (kinship) => kinship.below(messageId))
  }

  async #rounds(
    sessionId: string,
    wish: CancelWish,
    statuses: Map<string, CancelStatus>,
    meantOf: (kinship: Kinship) => readonly TaskKin[],
  ): Promise<void> {
    for (let round = 0; round < MOST_ROUNDS; round += 1) {
      const kinship = await this.#kinships.of(sessionId)
      const meant = meantOf(kinship).filter((task) => !task.isEnded && !statuses.has(task.messageId))
      if (meant.length === 0) return
      await Promise.all(
        meant.map(async ({ messageId }) => {
          statuses.set(messageId, await this.#cancelOne({ sessionId, messageId }, wish))
        }),
      )
    }
  }

  async #cancelOne(ref: TaskRef, wish: CancelWish): Promise<CancelStatus> {
    for (let asked = false; ; asked = true) {
      const answer = await this.#ender.end(ref, cancelledDone(wish.reason), { force: wish.mode === 'force' })
      if (answer.status === 'missing') return 'NOT_FOUND'
      if (answer.status === 'finished') {
        // A request that was sent again after a lost reply comes too late for the end that its first copy has brought.
        return asked && isCancelled(answer.outline.fence) ? 'CANCELLED' : 'ALREADY_FINISHED'
      }
      if (answer.status === 'ended') {
        await this.#tidy(answer, wish)
        return 'CANCELLED'
      }
      const request: CancelRequest = { reason: wish.reason, requestedBy: wish.requestedBy }
      const fence = await this.#records.requestCancel(ref, request)
      if (!fence.startsWith('R:')) continue // it has moved on in between: look again
      await this.#wake(ref, fence, wish)
      return 'CANCEL_REQUESTED'
    }
  }

  /** A task that ended here: whoever ran it is told, and its appointments are struck out. */
  async #tidy({ outline, ops }: EndAnswer & { status: 'ended' }, wish: CancelWish): Promise<void> {
    const { sessionId, messageId, fence } = outline
    if (!isUnbound(fence)) {
      await this.#wake(outline, fence, wish)
      // Who has a task that any worker might run sees it off, or the next one does.
      if (outline.lane === null) return
    }
    try {
      await this.#ender.tidy(outline, 'CANCELLED', ops)
    } catch (error) {
      this.#logger.debug(
        { err: error, sessionId, messageId },
        'the appointments of a cancelled task stay until they are due',
      )
    }
  }

  async #wake({ sessionId, messageId }: TaskRef, fence: string, wish: CancelWish): Promise<void> {
    const workerId = ownerOf(fence)
    if (workerId === '') return
    const command = new CancelTaskCommand({
      header: { messageId: newMessageId(), sessionId, traceId: newTraceId() },
      ...{ targetMessageId: messageId, targetExecutionId: fence, targetWorkerId: workerId, cancelMode: wish.mode },
      ...{ reason: wish.reason, requestedBy: wish.requestedBy },
    })
    try {
      await this.#inboxes.send(workerId, encodeCommand(command))
    } catch (cause) {
      if (cause instanceof GatewayError && cause.code === 'GW_CLOSED') return
      this.#logger.warn(
        { err: cause, sessionId, messageId, workerId },
        'the worker was not woken for a cancel; it looks itself',
      )
    }
  }
}
