import { z } from 'zod'
import { idFault, newMessageId, newTraceId } from './ids.ts'
import { isObject } from './json.ts'
import { TASK_OPTIONS_KEY, type TaskOptions, taskOptionsFromWire, taskOptionsToWire } from './task-options.ts'

/** What is needed to make a {@link MessageHeader}; all but the session may be left out. */
export interface MessageHeaderInit {
  /** Idempotency key of the command. Default a new one. */
  readonly messageId?: string | undefined
  readonly sessionId: string
  /** Default a new one. */
  readonly traceId?: string | undefined
  /** Non-empty: an agent of this type waits for the answer. */
  readonly sourceAgentType?: string | undefined
  readonly targetAgentType?: string | undefined
  readonly parentMessageId?: string | undefined
  readonly taskGroupId?: string | undefined
  readonly userCode?: string | undefined
  readonly userName?: string | undefined
  readonly metadata?: Record<string, unknown> | undefined
  readonly traceParentSpanId?: string | undefined
  readonly langfuseParentObservationId?: string | undefined
  /** How this one task is to be run; none by default. */
  readonly options?: TaskOptions | undefined
}

/** Who sends what to whom, in which session; the same in every command. */
export class MessageHeader implements Required<Omit<MessageHeaderInit, 'options'>> {
  readonly messageId: string
  readonly sessionId: string
  readonly traceId: string
  readonly sourceAgentType: string
  readonly targetAgentType: string
  readonly parentMessageId: string
  readonly taskGroupId: string
  readonly userCode: string
  readonly userName: string
  readonly metadata: Record<string, unknown>
  readonly traceParentSpanId: string
  readonly langfuseParentObservationId: string
  readonly options: TaskOptions | undefined

  constructor(init: MessageHeaderInit) {
    this.messageId = init.messageId ?? newMessageId()
    this.sessionId = init.sessionId
    this.traceId = init.traceId ?? newTraceId()
    this.sourceAgentType = init.sourceAgentType ?? ''
    this.targetAgentType = init.targetAgentType ?? ''
    this.parentMessageId = init.parentMessageId ?? ''
    this.taskGroupId = init.taskGroupId ?? ''
    this.userCode = init.userCode ?? ''
    this.userName = init.userName ?? ''
    this.metadata = init.metadata ?? {}
    this.traceParentSpanId = init.traceParentSpanId ?? ''
    this.langfuseParentObservationId = init.langfuseParentObservationId ?? ''
    this.options = init.options
  }
}

const id = z.string().refine((value) => idFault(value) === null, { error: () => idFault('') ?? '' })
const text = z.string().default('')

/** The header on the wire: all twelve keys are written; a reader needs the first three. */
const wireHeader = z.object({
  message_id: id,
  session_id: id,
  trace_id: z.string().min(1),
  source_agent_type: text,
  source_agent_id: z.string().optional(), // how the first release of the older SDK spelled it
  target_agent_type: text,
  parent_message_id: text,
  task_group_id: text,
  user_code: text,
  user_name: text,
  metadata: z.record(z.string(), z.unknown()).default({}),
  trace_parent_span_id: text,
  langfuse_parent_observation_id: text,
})

const TEXTS = Object.keys(wireHeader.shape).filter((name) => name !== 'metadata' && name !== 'source_agent_id')

export function headerToWire(header: MessageHeader): Record<string, unknown> {
  return {
    message_id: header.messageId,
    session_id: header.sessionId,
    trace_id: header.traceId,
    source_agent_type: header.sourceAgentType,
    target_agent_type: header.targetAgentType,
    parent_message_id: header.parentMessageId,
    task_group_id: header.taskGroupId,
    user_code: header.userCode,
    user_name: header.userName,
    metadata: metadataToWire(header),
    trace_parent_span_id: header.traceParentSpanId,
    langfuse_parent_observation_id: header.langfuseParentObservationId,
  }
}

function metadataToWire({ metadata, options }: MessageHeader): Record<string, unknown> {
  return options === undefined ? metadata : { ...metadata, [TASK_OPTIONS_KEY]: taskOptionsToWire(options) }
}

/** What is wrong with a received header, with the path of the field. */
export interface HeaderFault {
  readonly fault: string
  /** As much of it as says whose it is, where that can be read: somebody may be waiting for the message. */
  readonly named?: MessageHeader | undefined
}

/** The header of a received command, or the reason why it is none. */
export function headerFromWire(value: unknown): MessageHeader | HeaderFault {
  const header = readWire(value)
  if (header instanceof MessageHeader) return header
  const named = namedIn(value)
  return named === undefined ? header : { ...header, named }
}

function readWire(value: unknown): MessageHeader | HeaderFault {
  if (isComplete(value)) return fromWire(value)
  const parsed = wireHeader.safeParse(value)
  if (parsed.success) return fromWire(parsed.data)
  const issue = parsed.error.issues[0]
  return { fault: `${['header', ...(issue?.path ?? [])].join('.')}: ${issue?.message}` }
}

function namedIn(value: unknown): MessageHeader | undefined {
  if (!isObject(value)) return undefined
  const texts = TEXTS.filter((name) => typeof value[name] === 'string' && value[name] !== '')
  const header = readWire({ trace_id: newTraceId(), ...Object.fromEntries(texts.map((name) => [name, value[name]])) })
  return header instanceof MessageHeader ? header : undefined
}

type WireHeader = z.infer<typeof wireHeader>

/** True for a header as we write it, which needs no schema to say what is wrong or to add what is missing. */
function isComplete(value: unknown): value is WireHeader {
  if (!isObject(value) || !isObject(value.metadata) || 'source_agent_id' in value) return false
  for (const name of TEXTS) if (typeof value[name] !== 'string') return false
  const { message_id, session_id, trace_id } = value as Record<string, string>
  return idFault(message_id as string) === null && idFault(session_id as string) === null && trace_id !== ''
}

function fromWire(wire: WireHeader): MessageHeader | HeaderFault {
  const given = wire.metadata[TASK_OPTIONS_KEY]
  const options = given === undefined ? undefined : taskOptionsFromWire(given)
  if (options !== undefined && 'fault' in options) return { fault: `header.${options.fault}` }
  const header = new MessageHeader({
    messageId: wire.message_id,
    sessionId: wire.session_id,
    traceId: wire.trace_id,
    sourceAgentType: wire.source_agent_type || wire.source_agent_id || '',
    targetAgentType: wire.target_agent_type,
    parentMessageId: wire.parent_message_id,
    taskGroupId: wire.task_group_id,
    userCode: wire.user_code,
    userName: wire.user_name,
    metadata: given === undefined ? wire.metadata : without(wire.metadata, TASK_OPTIONS_KEY),
    options,
    traceParentSpanId: wire.trace_parent_span_id,
    langfuseParentObservationId: wire.langfuse_parent_observation_id,
  })
  // What is written of a task goes by the ids in it, and a handler has it in its hands.
  return Object.freeze(header)
}

function without(metadata: Record<string, unknown>, name: string): Record<string, unknown> {
  const { [name]: _, ...rest } = metadata
  return rest
}
