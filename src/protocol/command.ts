import { z } from 'zod'
import { GatewayError } from '../errors.ts'
import { brand } from '../util/brand.ts'
import { requireObject } from '../util/parse-options.ts'
import { contentFault } from './content-fault.ts'
import { MessageHeader, type MessageHeaderInit } from './header.ts'

/** A command as it travels on a control stream: a kind (`actionType`), a header, and a body of its own. */
export abstract class GatewayCommand {
  readonly header: MessageHeader

  /** @throws GatewayError `GW_INVALID_ARGUMENT` for a header that is none. */
  constructor(header: MessageHeader | MessageHeaderInit) {
    if (!(header instanceof MessageHeader)) requireObject('header', header)
    this.header = header instanceof MessageHeader ? header : new MessageHeader(header)
  }

  /** The kind of command, as it stands on the wire. */
  get actionType(): string {
    return (this.constructor as unknown as CommandClass).actionType
  }

  /** What the command says besides its header, in the form of the wire. */
  abstract toBody(): Record<string, unknown>
}
brand(GatewayCommand, 'GatewayCommand')

/** A class whose commands can be sent and received; see {@link registerCommand}. */
export interface CommandClass<Command extends GatewayCommand = GatewayCommand> {
  /** The kind on the wire, in capitals by custom: `ASK_AGENT`. */
  readonly actionType: string
  /** Builds the command from a received body; throws an Error that says what is wrong with it. */
  fromBody(header: MessageHeader, body: Record<string, unknown>): Command
}

/** What a person or an agent says: text, messages, or the input of a typed contract. Never blank or empty. */
export type CommandContent = string | readonly unknown[] | { readonly [key: string]: unknown }

/** The same as a sender gives it: TypeScript takes no value of an interface for an object of whatever members. */
export type GivenContent = string | object

const payload = z.record(z.string(), z.unknown()).default({})

/** Asks an agent to do something: the ordinary task. */
export class AskAgentCommand extends GatewayCommand {
  static readonly actionType = 'ASK_AGENT'
  readonly content: CommandContent
  readonly waitForReply: boolean
  readonly extraPayload: Record<string, unknown>

  constructor(init: {
    header: MessageHeader | MessageHeaderInit
    content: GivenContent
    waitForReply?: boolean | undefined
    extraPayload?: Record<string, unknown> | undefined
  }) {
    super(init?.header)
    const fault = contentFault(init.content)
    if (fault !== null) {
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'content', value: init.content, reason: fault })
    }
    this.content = init.content as CommandContent
    this.waitForReply = init.waitForReply ?? false
    this.extraPayload = init.extraPayload ?? {}
  }

  /** The same command with content as a schema made it, which may be what could not be sent: a Date, a number. */
  withContent(content: unknown): AskAgentCommand {
    return Object.assign(Object.create(AskAgentCommand.prototype) as AskAgentCommand, this, { content })
  }

  override toBody(): Record<string, unknown> {
    const body = { content: this.content, wait_for_reply: this.waitForReply }
    return Object.keys(this.extraPayload).length === 0 ? body : { ...body, extra_payload: this.extraPayload }
  }

  static readonly #body = z.object({
    content: z.unknown(),
    wait_for_reply: z.boolean().default(false),
    extra_payload: payload,
  })

  static fromBody(header: MessageHeader, body: Record<string, unknown>): AskAgentCommand {
    const wire = isPlain(body) ? body : parseBody(AskAgentCommand.#body, body)
    return new AskAgentCommand({
      header,
      content: wire.content as CommandContent,
      waitForReply: wire.wait_for_reply,
      extraPayload: wire.extra_payload,
    })
  }
}
brand(AskAgentCommand, 'AskAgentCommand')

/** Carries the answer for which a task waits. */
export class ResumeCommand extends GatewayCommand {
  static readonly actionType = 'RESUME'
  readonly content: CommandContent
  readonly status: string
  readonly replyData: unknown
  readonly extraPayload: Record<string, unknown>

  constructor(init: {
    header: MessageHeader | MessageHeaderInit
    content?: CommandContent | undefined
    status?: string | undefined
    replyData?: unknown
    extraPayload?: Record<string, unknown> | undefined
  }) {
    super(init?.header)
    this.content = init.content ?? ''
    this.status = init.status ?? ''
    this.replyData = init.replyData ?? null
    this.extraPayload = init.extraPayload ?? {}
    if (this.status === '' && contentFault(this.content) !== null) {
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'status', reason: 'status or content must be given' })
    }
  }

  override toBody(): Record<string, unknown> {
    const body = { content: this.content, status: this.status, reply_data: this.replyData }
    return Object.keys(this.extraPayload).length === 0 ? body : { ...body, extra_payload: this.extraPayload }
  }

  static readonly #body = z.object({
    content: z.unknown(),
    status: z.string().default(''),
    reply_data: z.unknown(),
    extra_payload: payload,
  })

  static fromBody(header: MessageHeader, body: Record<string, unknown>): ResumeCommand {
    const wire = parseBody(ResumeCommand.#body, body)
    return new ResumeCommand({
      header,
      content: wire.content as CommandContent,
      status: wire.status,
      replyData: wire.reply_data,
      extraPayload: wire.extra_payload,
    })
  }
}
brand(ResumeCommand, 'ResumeCommand')

/** How a cancel treats a handler that does not listen: wait for it, or fence it off at once. */
export type CancelMode = 'graceful' | 'force'

/** Asks the worker that runs a task to abort it. */
export class CancelTaskCommand extends GatewayCommand {
  static readonly actionType = 'CANCEL_TASK'
  readonly targetMessageId: string
  readonly targetExecutionId: string
  readonly targetWorkerId: string
  readonly reason: string
  readonly requestedBy: string
  readonly cancelMode: CancelMode

  constructor(init: {
    header: MessageHeader | MessageHeaderInit
    targetMessageId: string
    targetExecutionId?: string | undefined
    targetWorkerId?: string | undefined
    reason?: string | undefined
    requestedBy?: string | undefined
    cancelMode?: CancelMode | undefined
  }) {
    super(init?.header)
    this.targetMessageId = init.targetMessageId
    this.targetExecutionId = init.targetExecutionId ?? ''
    this.targetWorkerId = init.targetWorkerId ?? ''
    this.reason = init.reason ?? ''
    this.requestedBy = init.requestedBy ?? ''
    this.cancelMode = init.cancelMode ?? 'graceful'
  }

  override toBody(): Record<string, unknown> {
    return {
      target_message_id: this.targetMessageId,
      target_execution_id: this.targetExecutionId,
      target_worker_id: this.targetWorkerId,
      reason: this.reason,
      requested_by: this.requestedBy,
      cancel_mode: this.cancelMode,
    }
  }

  static readonly #body = z.object({
    target_message_id: z.string().min(1),
    target_execution_id: z.string().default(''),
    target_worker_id: z.string().default(''),
    reason: z.string().default(''),
    requested_by: z.string().default(''),
    cancel_mode: z.enum(['graceful', 'force']).default('graceful'),
  })

  static fromBody(header: MessageHeader, body: Record<string, unknown>): CancelTaskCommand {
    const wire = parseBody(CancelTaskCommand.#body, body)
    return new CancelTaskCommand({
      header,
      targetMessageId: wire.target_message_id,
      targetExecutionId: wire.target_execution_id,
      targetWorkerId: wire.target_worker_id,
      reason: wire.reason,
      requestedBy: wire.requested_by,
      cancelMode: wire.cancel_mode,
    })
  }
}
brand(CancelTaskCommand, 'CancelTaskCommand')

/**
 * The kinds of command this process understands. The one piece of module state in this library: like a class
 * definition it belongs to the code that was loaded, not to a worker or a client.
 */
const registry = new Map<string, CommandClass>(
  [AskAgentCommand, ResumeCommand, CancelTaskCommand].map((kind) => [kind.actionType, kind]),
)

/**
 * Adds a kind of command, to be sent by `client.sendCommand` and received by `processCommand`. Registering the same
 * class again does nothing.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` when another class has that `actionType`.
 */
export function registerCommand(kind: CommandClass): void {
  const { actionType } = kind
  if (typeof actionType !== 'string' || actionType === '') {
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'actionType', value: actionType, reason: 'must be a text' })
  }
  const known = registry.get(actionType)
  if (known !== undefined && known !== kind) {
    throw new GatewayError('GW_INVALID_ARGUMENT', {
      field: 'actionType',
      value: actionType,
      reason: 'another class is registered for it',
    })
  }
  registry.set(actionType, kind)
}

/** The class for a kind, or undefined if this process does not know it. */
export function commandClass(actionType: string): CommandClass | undefined {
  return registry.get(actionType)
}

/** True for a body as most are, in which there is nothing for a schema to find. */
function isPlain(
  body: Record<string, unknown>,
): body is { content?: unknown; wait_for_reply: boolean; extra_payload?: undefined } {
  return typeof body.wait_for_reply === 'boolean' && body.extra_payload === undefined
}

function parseBody<T>(schema: z.ZodType<T>, body: Record<string, unknown>): T {
  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw new GatewayError('GW_INVALID_ARGUMENT', {
    field: ['body', ...(issue?.path ?? [])].join('.'),
    reason: issue?.message ?? 'not understood',
  })
}
