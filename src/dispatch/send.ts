import type { AgentContract } from '../agent/contract.ts'
import { checkSchema } from '../agent/schema.ts'
import { errorMessage, GatewayError, type GatewayErrorCode } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { decodeCommand, encodeCommand } from '../protocol/codec.ts'
import { AskAgentCommand, type GatewayCommand } from '../protocol/command.ts'
import { cancelledDone } from '../protocol/endings.ts'
import type { MessageHeader } from '../protocol/header.ts'
import { checkCapability } from '../protocol/ids.ts'
import { runApart } from '../redis/apart.ts'
import { type LaneName, laneOfWorker, type Priority } from '../redis/keys.ts'
import type { Agenda, AgendaItem } from '../store/agenda.ts'
import type { CancelRequest } from '../store/cancel-request.ts'
import type { ControlWriter, Departure } from '../store/control-writer.ts'
import { isEnded, ownerOf } from '../store/fence.ts'
import type { InboxWriter } from '../store/inbox.ts'
import type { Presence } from '../store/presence.ts'
import type { AdmitAnswer, TaskAdmission, TaskOutline, TaskRecords } from '../store/task-records.ts'
import { Batcher, type BatcherOptions } from '../util/batcher.ts'
import { Batchers } from '../util/batchers.ts'
import { enterQueue, type QueueLimit } from './queue-limit.ts'
import type { TaskEnder } from './task-ender.ts'

type RefusedStatus = 'NO_WORKER' | 'QUEUE_FULL' | 'REJECTED' | 'NOT_REPLICATED'

/** What became of a send. Anything but `QUEUED` and `NOT_REPLICATED` wrote nothing. */
export type SendAnswer =
  | {
      readonly success: true
      readonly status: 'QUEUED'
      readonly messageId: string
      readonly traceId: string
      /** Unix ms, by this process' clock. */
      readonly timestamp: number
    }
  | {
      readonly success: false
      /**
       * `NO_WORKER`: nobody offers the capability now. `QUEUE_FULL`: its lane holds `maxQueueLength` tasks. `REJECTED`: the
       * request itself is at fault. `NOT_REPLICATED`: it is sent and will run, but fewer than `waitReplicas` replicas have
       * confirmed it; sent again with the same `messageId`, it still runs once.
       */
      readonly status: RefusedStatus
      readonly messageId: string
      readonly traceId: string
      readonly timestamp: number
      readonly error: { readonly code: GatewayErrorCode; readonly message: string }
    }

/** How a command is sent. A task that is held back (`delayMs`) takes its place later, whatever the queue's length is. */
export interface DispatchOptions extends QueueLimit {
  /** Default `normal`. */
  readonly priority?: Priority | undefined
  /** Hold the task back for so long, in ms. Default not at all. */
  readonly delayMs?: number | undefined
  /** Only this worker may run it, on its own lane; `priority` means nothing then. Default any of the capability. */
  readonly targetWorkerId?: string | undefined
  /** Refuse with `NO_WORKER` unless a live worker offers the capability (the worker, if one is named). Default false. */
  readonly requireOnlineWorker?: boolean
  /** Contract that the content must fit. */
  readonly contract?: AgentContract
  /** The command was built from checked parts and need not be read back. Default false. */
  readonly isChecked?: boolean
}

/** The one door to the control streams: checks a command, writes its entry and its record. */
export class Dispatcher {
  readonly #presence: Presence
  readonly #records: TaskRecords
  readonly #maxPayloadBytes: number
  readonly #ender: TaskEnder
  readonly #logger: Logger
  /** Null where there was no room. */
  readonly #departures: Departures<AdmitAnswer | null>
  /** Tasks that are held back. */
  readonly #delayed: Departures<AdmitAnswer>
  /** Tasks that are on their streams and expire if they stay there. */
  readonly #expiring: Departures<undefined>

  constructor(options: {
    control: ControlWriter
    records: TaskRecords
    presence: Presence
    agenda: Agenda
    inboxes: InboxWriter
    ender: TaskEnder
    maxPayloadBytes: number
    isCluster: boolean
    logger: Logger
  }) {
    const { control, records, isCluster, ender } = options
    this.#presence = options.presence
    this.#records = records
    this.#ender = ender
    this.#logger = options.logger
    this.#maxPayloadBytes = options.maxPayloadBytes
    this.#departures = isCluster ? twoSteps(control, records, ender) : oneStep(control)
    const { agenda, inboxes } = options
    const note = async (batch: readonly Departure[]) => {
      if (batch.length > 0) await inboxes.wakeKeepers(await agenda.add(batch.flatMap(appointments)))
    }
    const timed = <Result>(run: (batch: readonly Departure[]) => Promise<readonly Result[]>): Departures<Result> => {
      const batches: BatcherOptions<Departure, Result> = {
        ...{ maxItems: 100, maxInFlight: 4, weigh },
        run: (all) => runApart(all, run),
      }
      return isCluster ? new Batchers(sessionOf, batches) : new Batcher(batches)
    }
    this.#delayed = timed(async (batch) => {
      // The record first: what is due without one would be struck out. Without its appointment a record waits for the
      // sender, who was not told that it is accepted, to send again.
      const admitted = await records.admit(batch.map(({ task }) => task))
      await note(batch.filter((_, index) => !isCancelled(admitted[index])))
      return admitted
    })
    this.#expiring = timed(async (batch) => {
      await note(batch)
      // A worker that was quicker found nothing to strike out.
      const outlines = await Promise.all(batch.map(({ task }) => records.peek(task)))
      const needless = outlines.filter((task) => task !== null && isEnded(task.fence) && ownerOf(task.fence) !== '')
      await Promise.all(needless.map((task) => agenda.strikeOut(task as TaskOutline, { expiry: true })))
      return batch.map(() => undefined)
    })
  }

  /**
   * Sends a command to the agents of its header's `targetAgentType`. Resolves with `QUEUED` once the task is on the
   * control stream.
   *
   * @throws GatewayError `GW_REDIS_FAILED` when Redis did not take it.
   */
  async send(command: GatewayCommand, options: DispatchOptions = {}): Promise<SendAnswer> {
    const { messageId, traceId, targetAgentType } = command.header
    const timestamp = Date.now()
    const violation = options.contract === undefined ? undefined : await contractFault(command, options.contract)
    const data = violation ?? this.#encode(command, options)
    if (data instanceof GatewayError) return refused('REJECTED', data, { messageId, traceId, timestamp })
    try {
      if (options.requireOnlineWorker && !(await this.#isOnline(targetAgentType, options.targetWorkerId))) {
        const details = { agentType: targetAgentType, workerId: options.targetWorkerId }
        const error = new GatewayError('GW_NO_ONLINE_WORKER', details)
        return refused('NO_WORKER', error, { messageId, traceId, timestamp })
      }
      if (!(await this.#depart(command, data, options))) {
        const { targetWorkerId, maxQueueLength } = options
        const priority = targetWorkerId === undefined ? (options.priority ?? 'normal') : laneOfWorker(targetWorkerId)
        const details = { agentType: targetAgentType, priority, limit: maxQueueLength }
        return refused('QUEUE_FULL', new GatewayError('GW_QUEUE_FULL', details), { messageId, traceId, timestamp })
      }
    } catch (cause) {
      if (cause instanceof GatewayError && cause.code === 'GW_CLOSED') throw cause
      throw new GatewayError(
        'GW_REDIS_FAILED',
        { operation: `the send of ${messageId} to '${targetAgentType}'`, reason: errorMessage(cause) },
        { cause },
      )
    }
    return { success: true, status: 'QUEUED', messageId, traceId, timestamp }
  }

  async #isOnline(agentType: string, workerId: string | undefined): Promise<boolean> {
    const online = await this.#presence.online(agentType)
    return workerId === undefined ? online.length > 0 : online.includes(workerId)
  }

  /** False if there was no room in the queue. */
  #depart(command: GatewayCommand, data: string, options: DispatchOptions): Promise<boolean> {
    const { targetWorkerId, delayMs, maxQueueLength: limit } = options
    const lane = targetWorkerId === undefined ? undefined : laneOfWorker(targetWorkerId)
    const priority = lane ?? options.priority ?? 'normal'
    const expiresInMs = command.header.options?.expiresInMs
    const task = toAdmission(command)
    const isPlain = lane === undefined && !delayMs && expiresInMs === undefined && limit === undefined
    if (isPlain) return this.#enter(new Leaving(task, data, priority))
    const timed = { ...task, lane, delayMs: delayMs || undefined, expiresInMs }
    return this.#departTimed({ task: timed, data, priority, limit }, options)
  }

  async #departTimed(timed: Departure, options: DispatchOptions): Promise<boolean> {
    const { task } = timed
    const { delayMs, expiresInMs } = task
    if (delayMs) {
      const answer = await this.#delayed.add(timed)
      if (isCancelled(answer)) await this.#end(task, answer)
      return true
    }
    // A task that is there has its place: its first send was carried out, whatever the sender heard of it.
    const enter = async () => (await this.#enter(timed)) || (await this.#records.peek(task)) !== null
    if (!(await enterQueue(enter, options))) return false
    if (expiresInMs !== undefined) await this.#expiring.add(timed)
    return true
  }

  async #enter(departure: Departure): Promise<boolean> {
    const answer = await this.#departures.add(departure)
    if (isCancelled(answer)) {
      const { sessionId, messageId } = departure.task
      await this.#end(departure.task, answer).catch((err: unknown) => {
        // It is on its stream, and whoever takes it ends it.
        this.#logger.warn({ err, sessionId, messageId }, 'a task sent on behalf of a cancelled one has no end yet')
      })
    }
    return answer !== null
  }

  /** What is sent on behalf of a cancelled task has its end at once, whether somebody offers its capability or not. */
  async #end(task: TaskAdmission, { reason }: CancelRequest): Promise<void> {
    const ended = await this.#ender.end(task, cancelledDone(reason))
    if (ended.status === 'ended') await this.#ender.tidy(ended.outline, 'CANCELLED')
  }

  #encode(command: GatewayCommand, options: DispatchOptions): string | GatewayError {
    try {
      checkCapability('targetAgentType', command.header.targetAgentType)
      const data = encodeCommand(command)
      const bytes = Buffer.byteLength(data)
      if (bytes > this.#maxPayloadBytes) {
        throw new GatewayError('GW_PAYLOAD_TOO_LARGE', { field: 'the command', bytes, limit: this.#maxPayloadBytes })
      }
      if (!options.isChecked) requireReadable(data)
      return data
    } catch (error) {
      // JSON.stringify refuses cycles and BigInts.
      return codingFault(command, error)
    }
  }
}

/** Why a command does not fit the contract, if so. */
async function contractFault(command: GatewayCommand, contract: AgentContract): Promise<GatewayError | undefined> {
  if (!(command instanceof AskAgentCommand)) return undefined
  try {
    const checked = await checkSchema(contract.input, command.content)
    if (checked.ok) return undefined
    return new GatewayError('GW_CONTRACT_VIOLATION', { agentType: contract.agentType, reason: checked.reason })
  } catch (error) {
    // A schema of another library may throw.
    return codingFault(command, error)
  }
}

function codingFault(command: GatewayCommand, cause: unknown): GatewayError {
  if (cause instanceof GatewayError) return cause
  const details = { field: faultyPart(command), reason: errorMessage(cause) }
  return new GatewayError('GW_INVALID_ARGUMENT', details, { cause })
}

/** A first send with no terms. No literal, nor is {@link Born}; see `deferred`. */
class Leaving implements Departure {
  readonly task: TaskAdmission
  readonly data: string
  readonly priority: LaneName

  constructor(task: TaskAdmission, data: string, priority: LaneName) {
    this.task = task
    this.data = data
    this.priority = priority
  }
}

class Born implements TaskAdmission {
  readonly sessionId: string
  readonly messageId: string
  readonly traceId: string
  readonly parentMessageId: string
  readonly userCode: string
  readonly agentType: string

  constructor({ sessionId, messageId, traceId, parentMessageId, userCode }: MessageHeader, agentType: string) {
    this.sessionId = sessionId
    this.messageId = messageId
    this.traceId = traceId
    this.parentMessageId = parentMessageId
    this.userCode = userCode
    this.agentType = agentType
  }
}

/** Which part of a command cannot be sent. */
function faultyPart({ header, ...body }: GatewayCommand): string {
  const others = { metadata: header.metadata, extraPayload: 'extraPayload' in body ? body.extraPayload : undefined }
  for (const [name, part] of Object.entries(others)) {
    try {
      JSON.stringify(part)
    } catch {
      return name
    }
  }
  return 'content'
}

/** A command that somebody else built is read as the worker will read it: what it cannot read is refused here. */
function requireReadable(data: string): void {
  const decoded = decodeCommand(data, Number.MAX_SAFE_INTEGER)
  if (!decoded.ok) throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'the command', reason: decoded.detail })
}

/** Where sends are gathered into batches. */
interface Departures<Result> {
  add(departure: Departure): Promise<Result>
}

// Measured with 100 sends in flight: in batches of 100 client and server wait for each other, and a third less goes out.
const IN_BATCHES = { maxItems: 16, maxInFlight: 8 }
const weigh = ({ data }: Departure) => data.length
const sessionOf = ({ task }: Departure) => task.sessionId

/** On a single Redis the entries and the records are written together. */
function oneStep(control: ControlWriter): Departures<AdmitAnswer | null> {
  return new Batcher<Departure, AdmitAnswer | null>({
    ...{ ...IN_BATCHES, weigh },
    run: (all) => runApart(all, (batch) => control.send(batch)),
  })
}

/**
 * On a Cluster they lie in different slots. The entry first: without a record it is still a task (`begin` admits it),
 * whereas a record without an entry would wait for ever. While a node is away, only what has to go there waits for it.
 */
function twoSteps(control: ControlWriter, records: TaskRecords, ender: TaskEnder): Departures<AdmitAnswer | null> {
  const entries = new Batchers<Departure, string | null>(({ task, priority }) => `${task.agentType} ${priority}`, {
    ...{ ...IN_BATCHES, weigh },
    run: (all) =>
      runApart(all, (batch) =>
        control.enqueue(batch.map(({ task, ...entry }) => ({ capability: task.agentType, ...entry }))),
      ),
  })
  const admissions = new Batchers<Departure, AdmitAnswer>(sessionOf, {
    ...IN_BATCHES,
    run: (all) => runApart(all, (batch) => records.admit(batch.map(({ task }) => task))),
  })
  return {
    add: async (departure) => {
      const entryId = await entries.add(departure)
      if (entryId === null) return null
      const answer = await admissions.add(departure)
      const isSentAgain = answer === false
      if (isSentAgain) await ender.takeBack(departure, entryId)
      return answer
    },
  }
}

function isCancelled(answer: AdmitAnswer | null | undefined): answer is CancelRequest {
  return typeof answer === 'object' && answer !== null
}

/** What is to be done later with a task: put it on its stream, end it if it has not started. */
function appointments({ task, data, priority }: Departure): { item: AgendaItem; delayMs: number }[] {
  const { sessionId, messageId, agentType: capability, delayMs, expiresInMs } = task
  const ready = { kind: 'ready', turn: '0', sessionId, messageId, capability, priority, data } as const
  const expiry = { kind: 'expiry', sessionId, messageId, priority } as const
  return [
    ...(delayMs === undefined ? [] : [{ item: ready, delayMs }]),
    ...(expiresInMs === undefined ? [] : [{ item: expiry, delayMs: expiresInMs }]),
  ]
}

/** A send that did not come to what was asked for. */
export function refused(
  status: RefusedStatus,
  error: GatewayError,
  about: { messageId: string; traceId: string; timestamp: number },
): SendAnswer {
  return { success: false, status, ...about, error: { code: error.code, message: error.message } }
}

/** What a task's record says of the command that made it. */
export function toAdmission({ header }: GatewayCommand, agentType = header.targetAgentType): TaskAdmission {
  return new Born(header, agentType)
}
