import type {
  AgentCall,
  AgentCallAccepted,
  AgentReply,
  ContractCall,
  GroupOptions,
  GroupReply,
} from '../../agent/calls.ts'
import { AgentCallError, type AgentCallStatus, errorMessage, GatewayError } from '../../errors.ts'
import type { TaskPlugins } from '../../plugins/task-plugins.ts'
import { encodeCommand } from '../../protocol/codec.ts'
import { AskAgentCommand } from '../../protocol/command.ts'
import type { TaskFault } from '../../protocol/event.ts'
import { MessageHeader } from '../../protocol/header.ts'
import { isObject, parseJson } from '../../protocol/json.ts'
import type { CalledTask, NoteAnswer } from '../../store/journal-notes.ts'
import { deferred } from '../../util/deferred.ts'
import { requireKnown } from '../../util/parse-options.ts'
import { digest } from './args.ts'
import { type CheckedCall, checkCall, checkContent, checkGroup } from './call-request.ts'
import type { DurableTask } from './durable-task.ts'
import type { Operation } from './journal.ts'
import { Scope } from './scope.ts'

const STATUSES: Readonly<Record<string, AgentCallStatus>> = { F: 'FAILED', X: 'CANCELLED', E: 'EXPIRED' }

const GROUP_OPTIONS = { waitForReply: true, failFast: true } as const

/** What is wrong with one call alone, and is found before it is sent. */
const OWN_FAULTS: readonly string[] = ['GW_CONTRACT_VIOLATION', 'GW_PAYLOAD_TOO_LARGE']

/** A call under way: the id of the called task is known at once. */
interface Calling {
  readonly messageId: string
  readonly call: CheckedCall
  /** Resolves when the task is there, and may be cancelled; not at all if it has another end, or is never sent. */
  readonly opened: Promise<void>
  readonly reply: Promise<AgentReply>
}

/** Calls of other agents by a task. */
export class AgentCalls {
  readonly #task: DurableTask

  constructor(task: DurableTask) {
    this.#task = task
  }

  /** See `AgentContext.callAgent`. */
  call(request: AgentCall | ContractCall): Promise<AgentReply | AgentCallAccepted> {
    const call = checkCall(request)
    const op = this.#claim(call, this.#task.scope)
    return call.waitForReply ? this.#ask(call, op).reply : this.#sent(call, op)
  }

  /** See `AgentContext.dispatchGroup`. */
  async group(
    requests: readonly (AgentCall | ContractCall)[],
    options: GroupOptions,
  ): Promise<readonly (GroupReply | AgentCallAccepted)[]> {
    requireKnown(options, GROUP_OPTIONS)
    const { waitForReply = true, failFast = false } = options
    // All is checked and named before the first is sent, and before anything is awaited.
    const calls = checkGroup(requests, waitForReply)
    const { scope } = this.#task
    const group = `${scope.key}/group#${scope.next('group', '')}`
    const ops = calls.map((call, index) => this.#claim(call, new Scope(this.#task, `${group}[${index}]`, scope.step)))
    if (!waitForReply) return Promise.all(calls.map((call, index) => this.#sent(call, ops[index] as Operation)))
    const callings = calls.map((call, index) => this.#ask(call, ops[index] as Operation))
    let failed = false
    return Promise.all(
      callings.map(async ({ messageId, call, reply }): Promise<GroupReply> => {
        try {
          return { agentType: call.targetAgentType, ...(await reply) }
        } catch (error) {
          const end = settledEnd(error)
          if (failFast && !failed) {
            failed = true
            for (const other of callings) {
              if (other.messageId !== messageId) void other.opened.then(() => this.#cancel(other.messageId, 'failFast'))
            }
          }
          return { ...end, agentType: call.targetAgentType, messageId }
        }
      }),
    )
  }

  /** Cancels the tasks whose answers nobody will ask for any more, because the journal was dropped. */
  cancelOpen(): void {
    for (const key of this.#task.journal.openCalls) this.#cancel(this.#derivedId(key), 'the calling task starts afresh')
  }

  #claim(call: CheckedCall, scope: Scope): Operation {
    const { targetAgentType, content, waitForReply, messageId, metadata, extraPayload } = call
    if (messageId === this.#task.ref.messageId) {
      const reason = 'is that of the calling task itself'
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'messageId', value: messageId, reason })
    }
    const args = { content, extraPayload, messageId, metadata, waitForReply }
    return this.#task.claim('call', targetAgentType, args, scope)
  }

  #sent(call: CheckedCall, op: Operation): Promise<AgentCallAccepted> {
    const sent = this.#send(call, op)
    const { plugins } = this.#task
    if (plugins !== undefined) this.#watch(plugins, { ...call, waitForReply: false }, op, sent.then(nothing))
    return sent
  }

  async #send(call: CheckedCall, op: Operation): Promise<AgentCallAccepted> {
    const messageId = this.#messageId(call, op)
    const done = this.#task.working()
    try {
      // Before anything is awaited: whoever calls may change its content for his next call.
      const called = this.#toTask(call, messageId)
      if (op.entry === undefined) await checkContent(call)
      if (op.doubt !== undefined) await this.#task.settle(op.doubt)
      // Also if it is noted already: what was noted may not have been sent.
      this.#task.noted(await this.#open(op, called))
    } finally {
      done()
    }
    return { status: 'QUEUED', messageId }
  }

  #ask(call: CheckedCall, op: Operation): Calling {
    const messageId = this.#messageId(call, op)
    this.#giveUpBefore(call, op)
    const opened = deferred()
    // Whoever cancelled it may have died before he came to what it had called.
    if (isObject(op.result?.value) && op.result.value.s === 'X') opened.resolve()
    const reply = this.#reply(call, op, messageId, opened.resolve)
    const { plugins } = this.#task
    if (plugins !== undefined) this.#watch(plugins, { ...call, waitForReply: true }, op, reply)
    return { messageId, call, reply, opened: opened.promise }
  }

  #watch(plugins: TaskPlugins, call: CheckedCall, op: Operation, outcome: Promise<AgentReply | undefined>): void {
    const { targetAgentType, waitForReply, content } = call
    const about = { targetAgentType, waitForReply, content, calledMessageId: this.#messageId(call, op) }
    void plugins.watchCall({ ...about, replayed: op.entry !== undefined }, outcome)
  }

  async #reply(call: CheckedCall, op: Operation, messageId: string, onOpened: () => void): Promise<AgentReply> {
    const { timeoutMs } = call
    const open = async () => {
      // Before anything is awaited: see #send.
      const called = this.#toTask(call, messageId)
      await checkContent(call)
      const answer = await this.#open(op, called)
      onOpened()
      if (timeoutMs !== undefined && answer.status === 'noted' && answer.text === '') {
        await this.#task.deadlines.start(op, timeoutMs, '{"s":"TIMEOUT"}')
      }
      return answer
    }
    const { value } = await this.#task.outcome(op, 'agent', open)
    const { s, r, c, e } = isObject(value) ? value : {}
    if (timeoutMs !== undefined && s !== 'TIMEOUT') this.#task.deadlines.drop(op)
    if (s === 'C') {
      const data = parseText(r)
      const content = typeof data === 'string' ? data : typeof c === 'string' ? c : ''
      return { status: 'COMPLETED', content, data, messageId }
    }
    const about = { messageId, agentType: call.targetAgentType }
    if (s !== 'TIMEOUT') throw new AgentCallError(about, STATUSES[String(s)] ?? 'FAILED', toFault(parseText(e)))
    this.#cancel(messageId, tooLate(timeoutMs))
    const { code, message } = new GatewayError('GW_TIMEOUT', { what: 'the answer', timeoutMs })
    throw new AgentCallError(about, 'TIMEOUT', { code, message })
  }

  /** Where the time of a call was up between two attempts, there was nobody to cancel the called task. */
  #giveUpBefore({ messageId, timeoutMs }: CheckedCall, { key }: Operation): void {
    // A task with an id of its own is the same each time, and waited for again.
    if (messageId !== undefined) return
    const { journal } = this.#task
    for (const before of journal.failedBefore(key)) {
      const value = journal.result(before)?.value
      if (isObject(value) && value.s === 'TIMEOUT') this.#cancel(this.#derivedId(before), tooLate(timeoutMs))
    }
  }

  #open(op: Operation, called: CalledTask): Promise<NoteAnswer> {
    const { resources, emitter, ref } = this.#task
    return resources.journals.open({ op: op.key, entry: op.json, sum: emitter.sum(), called, ...ref })
  }

  /** The same call has the same id, however often it is made. */
  #messageId(call: CheckedCall, op: Operation): string {
    return call.messageId ?? this.#derivedId(op.key)
  }

  #derivedId(op: string): string {
    return `sub-${digest(this.#task.header.messageId, op).slice(0, 32)}`
  }

  #toTask(call: CheckedCall, messageId: string): CalledTask {
    const { header, agentType: sourceAgentType, resources } = this.#task
    const { targetAgentType, content, waitForReply, metadata, extraPayload = {}, retry, priority } = call
    const { sessionId, traceId, userCode, userName, messageId: parentMessageId } = header
    const command = new AskAgentCommand({
      header: new MessageHeader({
        ...{ messageId, sessionId, traceId, userCode, userName, parentMessageId, targetAgentType },
        ...{ sourceAgentType: waitForReply ? sourceAgentType : '', metadata: metadata ?? {} },
        options: retry === undefined ? undefined : { retry },
      }),
      ...{ content, waitForReply, extraPayload },
    })
    const data = encode(command)
    const bytes = Buffer.byteLength(data)
    if (bytes > resources.maxPayloadBytes) {
      throw new GatewayError('GW_PAYLOAD_TOO_LARGE', { field: 'the call', bytes, limit: resources.maxPayloadBytes })
    }
    const ids = { messageId, agentType: targetAgentType, traceId, userCode, parentMessageId }
    return { replies: waitForReply, priority, data, ...ids }
  }

  /** Whoever cannot be reached now is cancelled when this task runs again, or ends for nobody. */
  #cancel(messageId: string, reason: string): void {
    const { resources, ref, logger } = this.#task
    const wish = { reason, requestedBy: ref.messageId, mode: 'graceful' } as const
    resources.canceller.cancel({ sessionId: ref.sessionId, messageId }, wish).catch((error: unknown) => {
      logger.warn({ called: messageId, reason: errorMessage(error) }, 'a called task could not be cancelled')
    })
  }
}

/** How a call of a group came to nothing; what concerns the calling task as a whole is thrown on. */
function settledEnd(error: unknown): { readonly status: AgentCallStatus; readonly error: TaskFault } {
  if (error instanceof AgentCallError) return { status: error.status, error: error.fault }
  if (!(error instanceof GatewayError) || !OWN_FAULTS.includes(error.code)) throw error
  return { status: 'FAILED', error: { code: error.code, message: error.message } }
}

function tooLate(timeoutMs: number | undefined): string {
  return `no answer within ${timeoutMs} ms`
}

function nothing(): undefined {
  return undefined
}

function encode(command: AskAgentCommand): string {
  try {
    return encodeCommand(command)
  } catch (cause) {
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'content', reason: errorMessage(cause) }, { cause })
  }
}

function parseText(text: unknown): unknown {
  const json = typeof text === 'string' ? parseJson(text) : undefined
  return json?.ok ? json.value : null
}

function toFault(value: unknown): TaskFault {
  const { code, message } = isObject(value) ? value : {}
  return { code: String(code ?? 'GW_TASK_FAILED'), message: String(message ?? 'no reason given') }
}
