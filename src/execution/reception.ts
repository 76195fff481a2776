import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { DATA_FIELD, type DecodedCommand, decodeCommand, TASK_FIELD, TURN_FIELD } from '../protocol/codec.ts'
import { CancelTaskCommand, type GatewayCommand, ResumeCommand } from '../protocol/command.ts'
import type { MessageHeader } from '../protocol/header.ts'
import { isOfOneItem } from '../redis/apart.ts'
import { isShared, taskTail, workerOfLane } from '../redis/keys.ts'
import { entryField } from '../redis/streams.ts'
import { type BeginAnswer, type BeginRequest, toBeginAnswer } from '../store/begin-answer.ts'
import type { TakenEntry } from '../store/control-streams.ts'
import type { ControlWriter } from '../store/control-writer.ts'
import type { DeadLetters } from '../store/dead-letters.ts'
import type { Journals } from '../store/journals.ts'
import type { TaskRecords } from '../store/task-records.ts'
import type { Aftercare } from './aftercare.ts'
import type { Assignment } from './assignment.ts'

/** What another SDK sends to a task that waits. */
const NO_ANSWER = 'RESUME names a task that is under way; what it asks is answered by client.reply'
const GONE = 'its record has expired, so that it ended long ago, or was lost'
/** The servers of a Cluster, each with a clock of its own, are no further apart. */
const CLOCKS_MS = 60_000
/** A task for one worker that runs another version than its own is looked at again after so long. */
const OTHER_VERSION_MS = 30_000

/** What is to be done with an entry: run its task, or settle it, because there is nothing to run. */
export type Received =
  | { readonly entry: TakenEntry; readonly assignment: Assignment }
  | { readonly entry: TakenEntry; readonly assignment: null }

/** An entry that names a task, whether its command can be understood or not. */
interface Named {
  readonly entry: TakenEntry
  readonly header: MessageHeader
  readonly command: GatewayCommand | GatewayError
}

/**
 * From taken entries to begun tasks: decode → dead-letter what cannot be understood → begin, all in one call. A command
 * that cannot be understood but says whose it is still becomes a task, so that it ends as FAILED for whoever waits.
 */
export class Reception {
  readonly #records: TaskRecords
  readonly #deadLetters: DeadLetters
  readonly #aftercare: Aftercare
  readonly #journals: Journals
  readonly #control: ControlWriter
  readonly #workerId: string
  readonly #maxPayloadBytes: number
  readonly #maxDeliveries: number
  readonly #logger: Logger

  constructor(options: {
    records: TaskRecords
    deadLetters: DeadLetters
    aftercare: Aftercare
    journals: Journals
    control: ControlWriter
    workerId: string
    maxPayloadBytes: number
    maxDeliveries: number
    logger: Logger
  }) {
    this.#records = options.records
    this.#deadLetters = options.deadLetters
    this.#aftercare = options.aftercare
    this.#journals = options.journals
    this.#control = options.control
    this.#workerId = options.workerId
    this.#maxPayloadBytes = options.maxPayloadBytes
    this.#maxDeliveries = options.maxDeliveries
    this.#logger = options.logger
  }

  async receive(entries: readonly TakenEntry[]): Promise<Received[]> {
    const named: Named[] = []
    const nameless: Received[] = []
    for (const entry of entries) {
      const decoded = this.#decode(entry)
      if (decoded.ok) {
        named.push({ entry, header: decoded.command.header, command: decoded.command })
        continue
      }
      await this.#bury(entry, decoded)
      const { header, detail: reason } = decoded
      if (header === undefined) nameless.push({ entry, assignment: null })
      else named.push({ entry, header, command: new GatewayError('GW_POISON', { reason }) })
    }
    if (named.length === 0) return nameless
    const answers = await this.#beginOrBury(named)
    if (answers === undefined) return [...nameless, ...named.map(({ entry }) => ({ entry, assignment: null }))]
    if (named.some((task) => this.#isWorn(task))) await this.#giveUpWorn(named, answers)
    // Most have begun, and cost no promise here.
    const rest = named.filter((_, index) => answers[index]?.status !== 'begun')
    const said = answers.filter(({ status }) => status !== 'begun')
    await Promise.all(rest.map((task, index) => this.#finishWork(task, said[index] as BeginAnswer)))
    return [...nameless, ...named.map((task, index) => this.#assign(task, answers[index] as BeginAnswer))]
  }

  #decode({ raw }: TakenEntry): DecodedCommand {
    const decoded = decodeCommand(entryField(raw, DATA_FIELD), this.#maxPayloadBytes)
    if (!decoded.ok) return decoded
    if (!(decoded.command instanceof CancelTaskCommand)) return decoded
    const detail = 'CANCEL_TASK is no task; it belongs on the stream of the worker that runs the task'
    return { ok: false, reason: 'unknown-action', detail, header: decoded.command.header }
  }

  /**
   * Buries what has begun although its workers went silent too often, and lets it fail. Not before it has begun: of a task
   * that has its end, or its next attempt, only the ack was lost so often. What is cancelled or has expired ends as that.
   */
  async #giveUpWorn(named: Named[], answers: readonly BeginAnswer[]): Promise<void> {
    for (const [index, task] of named.entries()) {
      const answer = answers[index]
      const mayRun = answer?.status === 'begun' && answer.cancel === null && !answer.isExpired
      if (!mayRun || !this.#isWorn(task)) continue
      const { entry, header } = task
      const detail = `its workers went silent ${entry.deliveries - 1} times without an outcome`
      await this.#bury(entry, { ok: false, reason: 'too-many-deliveries', detail, header })
      named[index] = { ...task, command: new GatewayError('GW_POISON', { reason: detail }) }
    }
  }

  /** What could not be understood is buried already. */
  #isWorn({ entry, command }: Named): boolean {
    return entry.deliveries > this.#maxDeliveries && !(command instanceof GatewayError)
  }

  async #bury(entry: TakenEntry, poison: DecodedCommand & { ok: false }): Promise<void> {
    const { sessionId = '', messageId = '' } = poison.header ?? {}
    const { id: entryId, stream } = entry
    const { reason, detail } = poison
    const letter = { capability: stream.capability, reason, detail, entryId, sessionId, messageId }
    // A letter that is there was logged by whoever wrote it.
    if (!(await this.#deadLetters.add({ ...letter, workerId: this.#workerId }, stream.key))) return
    this.#logger.error(
      { capability: stream.capability, entryId, sessionId, messageId, reason, detail },
      'message sent to the dead letters',
    )
  }

  /**
   * Undefined for a task alone that nobody can begin, because a key of it is of another kind than it should be: it is buried, until a
   * person has put that right. (Among others it is tried again by itself.)
   */
  async #beginOrBury(named: readonly Named[]): Promise<readonly BeginAnswer[] | undefined> {
    try {
      return await this.#begin(named)
    } catch (error) {
      const [only, ...others] = named
      if (only === undefined || others.length > 0 || !isOfOneItem(error)) throw error
      const { entry, header } = only
      await this.#bury(entry, { ok: false, reason: 'wrong-kind', detail: errorMessage(error), header })
      return undefined
    }
  }

  /** Begins those tasks that were not begun when they were handed out. */
  async #begin(named: readonly Named[]): Promise<readonly BeginAnswer[]> {
    const answers = named.map((task) => this.#begun(task))
    const open = named.filter((_, index) => answers[index] === undefined)
    if (open.length === 0) return answers as BeginAnswer[]
    const said = await this.#beginNow(open)
    let next = 0
    return answers.map((answer) => answer ?? (said[next++] as BeginAnswer))
  }

  #begun(task: Named): BeginAnswer | undefined {
    const { begun, raw } = task.entry
    if (begun === undefined) return undefined
    const { sessionId, messageId } = task.header
    // A foreign writer may have named another task than its envelope does; then nothing was begun for this one.
    const isOther = typeof begun === 'number' && entryField(raw, TASK_FIELD) !== taskTail(sessionId, messageId)
    if (isOther) return undefined
    return toBeginAnswer(begun, toRequest(task), this.#workerId)
  }

  /** Begins tasks, all in one call; those without a record (from a foreign writer) are admitted first. */
  async #beginNow(named: readonly Named[]): Promise<readonly BeginAnswer[]> {
    const requests = named.map(toRequest)
    const answers = [...(await this.#records.begin(this.#workerId, requests))]
    if (answers.some(isElsewhere)) await this.#beginPoison(named, requests, answers)
    // A record goes before an entry with a turn. If it is gone, the task has ended long ago, or Redis has lost it.
    const missing = answers.flatMap(({ status }, index) =>
      status === 'missing' && requests[index]?.turn === '' ? [index] : [],
    )
    if (missing.length === 0) return answers
    const now = missing.some((index) => expiryOf(named[index] as Named) !== undefined) ? await this.#records.now() : 0
    await this.#records.admit(
      missing.map((index) => {
        const { header, entry } = named[index] as Named
        const { sessionId, messageId, traceId, parentMessageId, userCode } = header
        const agentType = entry.stream.capability
        const ids = { sessionId, messageId, traceId, parentMessageId, userCode }
        const { priority } = entry.stream
        const lane = workerOfLane(priority) === undefined ? undefined : priority
        const expiresInMs = expiryOf(named[index] as Named)
        return { agentType, expiresInMs: isOverdue(entry, expiresInMs, now) ? 0 : expiresInMs, lane, ...ids }
      }),
    )
    const again = await this.#records.begin(
      this.#workerId,
      missing.map((index) => requests[index] as (typeof requests)[number]),
    )
    missing.forEach((index, position) => {
      answers[index] = again[position] as BeginAnswer
    })
    return answers
  }

  /** What cannot be understood, or was tried too often, is ended by whoever meets it, whatever the version of its task. */
  async #beginPoison(
    named: readonly Named[],
    requests: readonly BeginRequest[],
    answers: BeginAnswer[],
  ): Promise<void> {
    const isHopeless = (task: Named) => task.command instanceof GatewayError || this.#isWorn(task)
    const refused = answers.flatMap(({ status }, index) =>
      status === 'elsewhere' && isHopeless(named[index] as Named) ? [index] : [],
    )
    if (refused.length === 0) return
    const meant = refused.map((index) => requests[index] as BeginRequest)
    const again = await this.#records.begin(this.#workerId, meant, true)
    refused.forEach((index, position) => {
      answers[index] = again[position] as BeginAnswer
    })
  }

  /** Does again what a worker that died after a failed attempt may have left undone; buries what nobody answers for. */
  async #finishWork({ entry, header, command }: Named, answer: BeginAnswer): Promise<void> {
    // Whoever ended the task may have died before he told those who wait for it.
    if (answer.status === 'replying' || answer.status === 'failed') await this.#journals.replyAgain(header)
    if (answer.status === 'missing')
      return this.#bury(entry, { ok: false, reason: 'record-gone', detail: GONE, header })
    if (answer.status === 'elsewhere') return this.#handOver(entry, header, answer)
    if (answer.status === 'stale' && command instanceof ResumeCommand) {
      return this.#bury(entry, { ok: false, reason: 'unknown-action', detail: NO_ANSWER, header })
    }
    if (answer.status !== 'parked' && answer.status !== 'failed') return
    const concluded = { header, ownership: { epoch: answer.epoch } }
    if (answer.status === 'parked') return this.#aftercare.schedule(entry, concluded, answer.dueInMs)
    if (command instanceof GatewayError) return
    const history = await this.#records.failures(header)
    const { code = 'GW_TASK_FAILED', message = '' } = history.at(-1) ?? {}
    await this.#aftercare.bury(entry, concluded, { fault: { code, message }, history })
  }

  /**
   * Puts an entry on the lane of the version that may run its task; this worker has no use for it. What is for this very
   * worker stays its own, since nobody else may run it: it comes back to its lane from time to time, until the worker
   * has returned with that version.
   */
  async #handOver(
    entry: TakenEntry,
    header: MessageHeader,
    { version, epoch }: BeginAnswer & { status: 'elsewhere' },
  ): Promise<void> {
    const { capability, priority } = entry.stream
    if (isShared(priority)) {
      const data = entryField(entry.raw, DATA_FIELD) ?? ''
      await this.#control.handOver({ capability, priority, version, data, turn: String(epoch) })
    } else {
      await this.#aftercare.schedule(entry, { header, ownership: { epoch } }, OTHER_VERSION_MS)
    }
    const { sessionId, messageId } = header
    this.#logger.warn(
      { sessionId, messageId, capability, version },
      'the task was begun by another version and waits for a worker that goes on with it',
    )
  }

  #assign({ entry, header, command }: Named, answer: BeginAnswer): Received {
    if (answer.status !== 'begun') {
      const { sessionId, messageId } = header
      this.#logger.debug({ sessionId, messageId, entryId: entry.id, status: answer.status }, 'entry has nothing to run')
      return { entry, assignment: null }
    }
    const { epoch, fence, written, attempt, createdAt, cancel, isExpired, life, replay } = answer
    const agentType = entry.stream.capability
    const ownership = { epoch, fence, written, attempt }
    const about = { createdAt, cancel, isExpired, life, replay }
    return { entry, assignment: { entry, header, agentType, command, ownership, ...about } }
  }
}

function toRequest({ entry, header }: Named): BeginRequest {
  const { sessionId, messageId } = header
  return { sessionId, messageId, entryId: entry.id, turn: entryField(entry.raw, TURN_FIELD) ?? '' }
}

function expiryOf({ header }: Named): number | undefined {
  return header.options?.expiresInMs
}

/** True if the time by which a task must have started, which began with its entry, is over. */
function isOverdue({ id }: TakenEntry, expiresInMs: number | undefined, now: number): boolean {
  return expiresInMs !== undefined && Number.parseInt(id, 10) + expiresInMs + CLOCKS_MS < now
}

function isElsewhere({ status }: BeginAnswer): boolean {
  return status === 'elsewhere'
}
