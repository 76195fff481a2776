import { type RetryPolicy, resolveRetry } from '../agent/retry.ts'
import { attemptLogger } from '../context/attempt-logger.ts'
import type { Emitter } from '../context/emitter.ts'
import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { cancelledDone, expiredDone } from '../protocol/endings.ts'
import { isOfOneItem } from '../redis/apart.ts'
import { type EntryRef, refOf } from '../store/control-streams.ts'
import { ownerOf } from '../store/fence.ts'
import type { AttemptFailure, TaskRecords } from '../store/task-records.ts'
import { loggable } from '../util/loggable.ts'
import type { Aftercare } from './aftercare.ts'
import type { Assignment } from './assignment.ts'
import type { How } from './ending.ts'
import { contentOfResult, type Failed, failed, type Outcome } from './outcome.ts'
import { decideRetry } from './retry-decision.ts'
import type { TaskMemory } from './task-memory.ts'

/** As much of an attempt's context as its conclusion needs. */
interface Voice {
  /** Made when it is asked for, because most tasks have nothing to log. */
  readonly logger: Logger
  /** Called before the emitter's text is used where that is only a part. */
  completeText(): Promise<void>
}

/** What is known of an attempt while its end is on the way: see `Ending`. */
interface Closing extends Pick<Assignment, 'header' | 'ownership'>, Pick<Drawn, 'emitter' | 'abortReason'> {
  readonly entry: EntryRef
}

type Recordable = Exclude<Outcome, { status: 'FINISHED' | 'RELINQUISHED' | 'SUSPENDED' }>

/** An attempt that has come to its outcome, and what is needed to record it. */
export interface Drawn {
  readonly outcome: Outcome
  readonly assignment: Assignment
  readonly emitter: Emitter
  /** What it leaves in the session's history, if the handler has run and there is one. */
  readonly memory?: TaskMemory | undefined
  readonly context: Voice
  /** Why it was aborted, if it was. */
  readonly abortReason: GatewayError | undefined
}

/** Failed attempts that are kept in a record: the first and the newest. */
const MOST_FAILURES_KEPT = 20
const MOST_MESSAGE_LENGTH = 1_000

/** Records what an attempt has come to: the task's end, or that it is to be tried again, or nothing. */
export class Conclusion {
  readonly #records: TaskRecords
  readonly #aftercare: Aftercare
  readonly #retryOf: (agentType: string) => RetryPolicy | undefined
  readonly #onGivenUp: (reason: GatewayError | undefined) => void
  readonly #logger: Logger

  constructor(options: {
    records: TaskRecords
    aftercare: Aftercare
    /** The worker's policy for a capability. */
    retryOf: (agentType: string) => RetryPolicy | undefined
    /** Told of an attempt that leaves its task to somebody else, with the reason of its abort. */
    onGivenUp: (reason: GatewayError | undefined) => void
    logger: Logger
  }) {
    this.#records = options.records
    this.#aftercare = options.aftercare
    this.#retryOf = options.retryOf
    this.#onGivenUp = options.onGivenUp
    this.#logger = options.logger
  }

  /** Resolves when the end is recorded, or others are to record it; see `Ending`. Holds nothing of what was asked meanwhile. */
  draw(drawn: Drawn): Promise<How> {
    const { outcome, assignment, emitter, context, abortReason } = drawn
    // One that is left to others says what it likes: that is fenced.
    if (outcome.status !== 'RELINQUISHED' && outcome.status !== 'FINISHED') emitter.silence()
    if (outcome.status === 'SUSPENDED') {
      context.logger.debug({}, 'task suspended until an answer comes')
      return Promise.resolve('ended')
    }
    if (outcome.status === 'RELINQUISHED') {
      const { reason } = outcome
      context.logger.warn({ reason: reason.message, code: reason.code }, 'attempt given up')
      return Promise.resolve(this.#giveAway(abortReason))
    }
    const recorded = outcome.status === 'FINISHED' ? this.#retire(drawn, outcome.fence) : this.#record(drawn, outcome)
    const { header, ownership } = assignment
    return this.#close({ entry: refOf(assignment.entry), header, ownership, emitter, abortReason }, recorded)
  }

  #close(attempt: Closing, recorded: Promise<void>): Promise<How> {
    return recorded.then(
      () => (attempt.emitter.hasSettled ? 'settled' : 'ended'),
      (error: unknown) => this.#unrecorded(attempt, error),
    )
  }

  async #unrecorded(attempt: Closing, error: unknown): Promise<How> {
    // Others would run the handler in vain; what else has to be written is no part of the outcome.
    if (isOfOneItem(error) && attempt.emitter.isClosedBy(error)) return this.#bury(attempt, error)
    // Nothing is lost: the entry stays pending, and whoever owns the task now, or takes it next, ends it.
    this.#loggerOf(attempt).error({ err: error }, 'the outcome of the attempt was not recorded by this worker')
    return this.#giveAway(attempt.abortReason)
  }

  #giveAway(abortReason: GatewayError | undefined): 'left' | 'lost' {
    this.#onGivenUp(abortReason)
    return abortReason?.code === 'GW_LEASE_LOST' ? 'lost' : 'left'
  }

  #loggerOf({ header, ownership }: Closing): Logger {
    const { sessionId, messageId, traceId } = header
    return attemptLogger(this.#logger, { sessionId, messageId, traceId, attempt: ownership.attempt })
  }

  /** Where a key of the session is of another kind than it should be, nobody can record an outcome. */
  async #bury(attempt: Closing, error: unknown): Promise<How> {
    const logger = this.#loggerOf(attempt)
    const fault = { code: 'GW_REDIS_FAILED', message: errorMessage(error) }
    logger.error({ err: error }, 'no outcome of the task can be recorded: it goes to the dead letters as it is')
    try {
      await this.#aftercare.bury(attempt.entry, attempt, { fault, history: [] })
      return 'ended'
    } catch (cause) {
      logger.error({ err: cause }, 'nor could it be put there')
      return this.#giveAway(attempt.abortReason)
    }
  }

  async #retire({ assignment, memory, context }: Drawn, fence: string): Promise<void> {
    context.logger.info({}, 'the task was ended from outside')
    await memory?.settled() // once it is retired, nothing of it is written any more
    await this.#records.retire(assignment.header, fence)
  }

  /** Most have nothing to wait for before their end goes out. */
  #record(drawn: Drawn, outcome: Recordable): Promise<void> {
    try {
      // An attempt that is to be followed by another one has no answer yet.
      const kept = outcome.status === 'FAILED' ? undefined : drawn.memory?.answer(outcome)
      const isReady = kept === undefined && outcome.status === 'COMPLETED' && !lacksText(drawn, outcome)
      return isReady ? complete(drawn, outcome) : this.#recordAfter(kept, drawn, outcome)
    } catch (error) {
      return this.#recordFault(drawn, error)
    }
  }

  async #recordAfter(kept: Promise<void> | undefined, drawn: Drawn, outcome: Recordable): Promise<void> {
    try {
      await kept
      await this.#say(drawn, outcome)
    } catch (error) {
      await this.#recordFault(drawn, error)
    }
  }

  /** What makes an outcome one that cannot be recorded would be met by every further worker, too: it is the failure then. */
  async #recordFault(drawn: Drawn, error: unknown): Promise<void> {
    if (isElsewhere(error)) throw error
    await this.#say(drawn, failed(error))
  }

  async #say(drawn: Drawn, outcome: Recordable): Promise<void> {
    const { emitter, assignment } = drawn
    const control = assignment.entry.stream.key
    switch (outcome.status) {
      case 'COMPLETED':
        if (lacksText(drawn, outcome)) await drawn.context.completeText()
        return complete(drawn, outcome)
      case 'CANCELLED': {
        drawn.context.logger.info({ reason: outcome.reason }, 'task cancelled')
        const done = cancelledDone(outcome.reason)
        return emitter.end(done, { error: JSON.stringify(done.error) }, control)
      }
      case 'EXPIRED': {
        const done = expiredDone()
        drawn.context.logger.info({}, done.error.message)
        return emitter.end(done, { error: JSON.stringify(done.error) }, control)
      }
      case 'FAILED':
        return this.#fail(drawn, outcome)
    }
  }

  async #fail(drawn: Drawn, outcome: Failed): Promise<void> {
    const { assignment } = drawn
    const { logger } = drawn.context
    const { agentType, header, ownership } = assignment
    const { attempt } = ownership
    const policy = resolveRetry(header.options?.retry, this.#retryOf(agentType))
    const decision = decideRetry(policy, { error: outcome.cause, attempt, chance: Math.random() }, logger)
    const history = await this.#history(drawn, outcome)
    const fields = { failures: String(attempt), failure_log: JSON.stringify(history) }
    if (decision.retry) await this.#retry(drawn, outcome, { delayMs: decision.delayMs, fields })
    else await this.#giveUp(drawn, outcome, { history, fields })
  }

  async #retry(
    { assignment, emitter, context: { logger } }: Drawn,
    { fault, cause }: Failed,
    { delayMs, fields }: { delayMs: number; fields: Record<string, string> },
  ): Promise<void> {
    const about = { err: loggable(cause), code: fault.code, delayMs: Math.round(delayMs) }
    logger.warn(about, 'attempt failed, the next one is due')
    const retryAt = Math.round(Date.now() + delayMs)
    await emitter.park({ type: 'error', ...fault, retrying: true, retryAt }, delayMs, fields)
    if (!emitter.wasCancelled) await this.#aftercare.schedule(assignment.entry, assignment, delayMs)
  }

  async #giveUp(
    drawn: Drawn,
    outcome: Failed,
    { history, fields }: { history: readonly AttemptFailure[]; fields: Record<string, string> },
  ): Promise<void> {
    const {
      assignment,
      emitter,
      context: { logger },
    } = drawn
    const { fault, cause } = outcome
    logger.error({ err: loggable(cause), code: fault.code }, 'task failed')
    await drawn.memory?.answer(outcome)
    void emitter.emit({ type: 'error', ...fault, retrying: false })
    const done = { type: 'done', status: 'FAILED', error: fault } as const
    await emitter.end(done, { error: JSON.stringify(fault), ...fields })
    // What could not be understood was buried before it was begun.
    if (emitter.wasCancelled || assignment.command instanceof GatewayError) return
    await this.#aftercare.bury(assignment.entry, assignment, { fault, history })
  }

  async #history({ assignment }: Drawn, { fault }: Failed): Promise<AttemptFailure[]> {
    const { header, ownership, entry } = assignment
    const { attempt, fence, epoch } = ownership
    // A redriven task begins with its first attempt again, and has a history.
    const earlier = epoch === 1 ? [] : this.#records.failures(header)
    const [before, at] = await Promise.all([earlier, this.#records.now()])
    const message = fault.message.slice(0, MOST_MESSAGE_LENGTH)
    const workerId = ownerOf(fence)
    const all = [...before, { attempt, code: fault.code, message, at, workerId, entryId: entry.id }]
    return all.length <= MOST_FAILURES_KEPT ? all : [...all.slice(0, 1), ...all.slice(1 - MOST_FAILURES_KEPT)]
  }
}

type Completed = Outcome & { readonly status: 'COMPLETED' }

/** Words that earlier runs have said are needed, and not here yet. */
function lacksText({ emitter }: Drawn, { result }: Completed): boolean {
  return emitter.text.isPartial && typeof result !== 'string'
}

function complete({ emitter, assignment }: Drawn, { result, resultJson }: Completed): Promise<void> {
  const content = contentOfResult(result, emitter.text.kept)
  const isSaid = typeof result === 'string' || content === ''
  const fields: Record<string, string> = isSaid ? { result: resultJson } : { result: resultJson, content }
  return emitter.end({ type: 'done', status: 'COMPLETED', resultJson }, fields, assignment.entry.stream.key)
}

/** True for what is no fault of the outcome: Redis did not take it, or the task is somebody else's by now. */
function isElsewhere(error: unknown): boolean {
  if (error instanceof GatewayError) return error.code !== 'GW_INVALID_ARGUMENT'
  return error instanceof Error && error.name === 'ReplyError'
}
