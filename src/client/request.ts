import { z } from 'zod'
import { type AgentContract, type ContractInput, requireTarget } from '../agent/contract.ts'
import { GatewayError } from '../errors.ts'
import { AskAgentCommand, type GivenContent } from '../protocol/command.ts'
import { contentFault } from '../protocol/content-fault.ts'
import { MessageHeader } from '../protocol/header.ts'
import { capabilityFault, idFault, newMessageId, newTraceId } from '../protocol/ids.ts'
import { LONGEST_MS, members, metadata, type TaskOptions, taskOptions } from '../protocol/task-options.ts'
import type { Priority } from '../redis/keys.ts'
import { optionFault } from '../util/parse-options.ts'

/** What can be said of a message besides its target and content. */
export interface MessageOptions extends TaskOptions {
  /** The session whose data stream the answer goes to. */
  readonly sessionId: string
  /** Idempotency key: sent twice, runs once. Default a new one. */
  readonly messageId?: string | undefined
  readonly traceId?: string | undefined
  readonly parentMessageId?: string | undefined
  readonly userCode?: string | undefined
  readonly userName?: string | undefined
  /** Handed to the agent as `context.metadata`. */
  readonly metadata?: Record<string, unknown> | undefined
  readonly extraPayload?: Record<string, unknown> | undefined
  /**
   * Answer `NO_WORKER`, and write nothing, unless a live worker offers the capability; with `targetWorkerId`, unless that
   * very worker does. Default false.
   */
  readonly requireOnlineWorker?: boolean | undefined
  /** `high` goes before `normal` before `low`, without starving anyone. Default `normal`. */
  readonly priority?: Priority | undefined
  /**
   * Only the worker of this name may run it; it waits for that worker if it is away, for ever unless `expiresInMs` says
   * otherwise. Such tasks go before all others and have no `priority`. Default any worker of the capability.
   */
  readonly targetWorkerId?: string | undefined
  /**
   * Answer `QUEUED` only once so many replicas have the task too, and `NOT_REPLICATED` if they do not confirm it within a
   * second. Not on a Cluster. Default 0.
   */
  readonly waitReplicas?: number | undefined
  /** Start no sooner than in so many ms, by Redis' clock. Default at once. */
  readonly delayMs?: number | undefined
}

/** A message to an agent by the name of its type. */
export interface SendMessageRequest extends MessageOptions {
  readonly targetAgentType: string
  readonly content: GivenContent
}

/** A message to an agent by its contract: the content's type is inferred, and checked before it is sent. */
export interface SendContractRequest<Contract extends AgentContract = AgentContract> extends MessageOptions {
  readonly target: Contract
  readonly content: ContractInput<Contract>
}

const id = z.string().refine((value) => idFault(value) === null, { error: () => idFault('') ?? '' })
const text = z.string().optional()

const schema = z.strictObject({
  targetAgentType: z.string().refine((value) => capabilityFault(value) === null, {
    error: ({ input }) => capabilityFault(input) ?? '',
  }),
  sessionId: id,
  messageId: id.optional(),
  traceId: z.string().min(1).optional(),
  parentMessageId: id.optional(),
  userCode: text,
  userName: text,
  metadata: metadata.optional(),
  extraPayload: members.optional(),
  requireOnlineWorker: z.boolean().optional(),
  priority: z.enum(['high', 'normal', 'low']).optional(),
  targetWorkerId: id.optional(),
  waitReplicas: z.number().int().min(0).max(1_000).optional(),
  delayMs: z.number().min(0).max(LONGEST_MS).optional(),
  ...taskOptions.shape,
  content: z.unknown(),
})

type PlainRequest = z.infer<typeof schema>

const isIdOrNone = (value: unknown) => value === undefined || idFault(value) === null
const isTextOrNone = (value: unknown) => value === undefined || typeof value === 'string'

/** What most requests say, and what may stand there. */
const USUAL: ReadonlyMap<string, (value: unknown) => boolean> = new Map([
  ['targetAgentType', (value) => capabilityFault(value) === null],
  ['sessionId', (value) => idFault(value) === null],
  ['content', () => true],
  ['messageId', isIdOrNone],
  ['parentMessageId', isIdOrNone],
  ['userCode', isTextOrNone],
  ['userName', isTextOrNone],
])

/** True for a request as most are, in which there is nothing for the schema to find: it costs a lone send more than its ids. */
function isUsual(request: Record<string, unknown>): request is PlainRequest {
  if (request.targetAgentType === undefined || request.sessionId === undefined) return false
  for (const name of Object.keys(request)) if (USUAL.get(name)?.(request[name]) !== true) return false
  return true
}

/** A request that passed the border: the command to send, and how. */
export interface CheckedRequest {
  readonly command: AskAgentCommand
  readonly contract: AgentContract | undefined
  readonly requireOnlineWorker: boolean
  readonly priority: Priority | undefined
  readonly targetWorkerId: string | undefined
  readonly waitReplicas: number | undefined
  readonly delayMs: number | undefined
}

/**
 * Checks a request by its form. What is wrong comes back as the error that names the field and the value.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` for a target that is no contract, or not that of the agent named beside it.
 */
export function checkRequest(request: SendMessageRequest | SendContractRequest): CheckedRequest | GatewayError {
  const { contract, plain } = plainRequest(request)
  const parsed = isUsual(plain) ? { success: true as const, data: plain } : schema.safeParse(plain)
  if (!parsed.success) return optionFault(parsed.error, plain)
  // Field by field: what is left over by a destructuring is costly to make.
  const {
    content,
    requireOnlineWorker = false,
    extraPayload,
    priority,
    delayMs,
    targetWorkerId,
    waitReplicas,
  } = parsed.data
  const { timeoutMs, retry, expiresInMs } = parsed.data
  if (targetWorkerId !== undefined && priority !== undefined) {
    const reason = 'a task for one worker has no priority'
    return new GatewayError('GW_INVALID_ARGUMENT', { field: 'priority and targetWorkerId', value: priority, reason })
  }
  const fault = contentFault(content)
  if (fault !== null)
    return new GatewayError('GW_INVALID_ARGUMENT', { field: 'content', value: content, reason: fault })
  const hasOptions = timeoutMs !== undefined || retry !== undefined || expiresInMs !== undefined
  const options = hasOptions ? { timeoutMs, retry, expiresInMs } : undefined
  const command = new AskAgentCommand({
    header: headerOf(parsed.data, options),
    content: content as GivenContent,
    extraPayload,
  })
  return { command, contract, requireOnlineWorker, priority, targetWorkerId, waitReplicas, delayMs }
}

function headerOf(request: PlainRequest, options: TaskOptions | undefined): MessageHeader {
  const { targetAgentType, sessionId, parentMessageId, userCode, userName, metadata } = request
  const { messageId = newMessageId(), traceId = newTraceId() } = request
  const ids = { messageId, sessionId, traceId, targetAgentType, parentMessageId }
  return new MessageHeader(Object.assign(ids, { userCode, userName, metadata, options }))
}

function plainRequest(request: SendMessageRequest | SendContractRequest): {
  contract: AgentContract | undefined
  plain: Record<string, unknown>
} {
  if (!('target' in request)) return { contract: undefined, plain: { ...request } }
  const { target, ...rest } = request
  if (target === undefined) return { contract: undefined, plain: rest }
  requireTarget(target, (rest as { targetAgentType?: unknown }).targetAgentType)
  return { contract: target, plain: { ...rest, targetAgentType: target.agentType } }
}
