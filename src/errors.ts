import { brand } from './util/brand.ts'

/**
 * Every error of this library, by its code: how its details become one clear line. A code stands here, is thrown
 * somewhere in `src`, and stands in the README; a test holds the three together.
 */
const CATALOGUE = {
  GW_INVALID_ARGUMENT: (d) =>
    `${d.field} is invalid: ${d.reason}${d.value === undefined ? '' : ` (got ${excerpt(d.value)})`}`,
  GW_CONTRACT_VIOLATION: (d) =>
    `${d.direction ?? 'content'} does not fit the contract of '${d.agentType}': ${d.reason}`,
  GW_PAYLOAD_TOO_LARGE: (d) => `${d.field} has ${d.bytes} bytes, the limit is ${d.limit}`,
  GW_NO_ONLINE_WORKER: (d) =>
    `no live worker ${d.workerId === undefined ? '' : `'${d.workerId}' `}offers '${d.agentType}'`,
  GW_QUEUE_FULL: (d) => `the ${d.priority} queue of '${d.agentType}' is full, its limit is ${d.limit}`,
  GW_NOT_REPLICATED: (d) => `${d.messageId} was sent, but ${d.confirmed} of ${d.wanted} replicas have confirmed it`,
  GW_REDIS_UNREACHABLE: (d) => `Redis at ${d.target} cannot be reached: ${d.reason}`,
  GW_REDIS_UNSUPPORTED: (d) => `Redis ${d.version} is too old, this library needs ${d.needed} or newer`,
  GW_REDIS_FAILED: (d) => `Redis did not carry out ${d.operation}: ${d.reason}`,
  GW_WORKER_ID_TAKEN: (d) => `worker id '${d.workerId}' is in use by a live worker (host ${d.host}, pid ${d.pid})`,
  GW_WORKER_NOT_LOADED: (d) => `${d.spec}: ${d.reason}`,
  GW_PLUGIN_NOT_LOADED: (d) => `plugin ${d.plugin}: ${d.reason}`,
  GW_SEND_REFUSED: (d) => `the message was refused (${d.status}): ${d.message}`,
  GW_RESULT_GONE: (d) => `the result of ${d.messageId} is not kept any more`,
  GW_TASK_LOST: (d) => `task ${d.messageId} was accepted, but Redis does not know it any more (its data was lost)`,
  GW_CLOSED: (d) => `the ${d.what} is closed`,
  GW_TIMEOUT: (d) => `${d.what} did not come within ${d.timeoutMs} ms`,
  GW_TOOL_NOT_FOUND: (d) => `there is no tool '${d.tool}' (known: ${d.known})`,
  GW_TOOL_INPUT_INVALID: (d) => `input of tool '${d.tool}' is invalid: ${d.reason}`,
  GW_TOOL_OUTPUT_INVALID: (d) => `output of tool '${d.tool}' is invalid: ${d.reason}`,
  GW_TOOL_TIMEOUT: (d) => `tool '${d.tool}' took longer than ${d.timeoutMs} ms`,
  GW_PATH_OUTSIDE_WORKSPACE: (d) => `path '${d.path}' leaves the task's workspace`,
  GW_TASK_TIMEOUT: (d) => `the attempt took longer than ${d.timeoutMs} ms`,
  GW_CANCELLED: (d) => `the task was cancelled: ${d.reason}`,
  GW_EXPIRED: () => 'the task was not started in time',
  GW_LEASE_LOST: (d) => `the attempt lost its task ${d.messageId} to another owner (now ${d.holder})`,
  GW_SHUTDOWN: (d) => `worker '${d.workerId}' is shutting down`,
  GW_TASK_FAILED: (d) => `${d.reason}`,
  GW_AGENT_CALL_FAILED: (d) =>
    `the call of '${d.agentType}' (${d.messageId}) came to nothing (${d.status}): ${d.reason}`,
  GW_NON_DETERMINISM: (d) =>
    `${d.operation} was called with ${d.given}, but before with ${d.recorded}: a handler that runs again must call the same`,
  GW_PLUGIN_REFUSED: (d) => `plugin '${d.pluginId}' was refused: ${d.reason}`,
  GW_PROMPT_NOT_FOUND: (d) => `there is no prompt '${d.prompt}' (known: ${d.known})`,
  GW_PROMPT_VARIABLE: (d) =>
    `prompt '${d.prompt}': variable '${d.variable}' ${d.reason}${d.value === undefined ? '' : ` (got ${excerpt(d.value)})`}`,
  GW_JOURNAL_FULL: (d) => `the task has ${d.limit} durable operations, which is the limit`,
  GW_TASK_STRANDED: (d) => `the task cannot run any more: ${d.reason}`,
  GW_NO_HISTORY: (d) => `there is no history to read here: ${d.reason}`,
  GW_HISTORY_FAILED: (d) => `the history did not carry out ${d.operation}: ${d.reason}`,
  GW_POISON: (d) => `the message cannot be processed: ${d.reason}`,
} as const satisfies Record<string, (details: Record<string, unknown>) => string>

/** The codes of {@link GatewayError}, as a closed union. */
export type GatewayErrorCode = keyof typeof CATALOGUE

/** All codes, for documentation and tests. */
export const GATEWAY_ERROR_CODES = Object.keys(CATALOGUE) as GatewayErrorCode[]

/** An error of this library: `code` is for programs, `message` for people, `details` for logs. */
export class GatewayError extends Error {
  readonly code: GatewayErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: GatewayErrorCode, details: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(CATALOGUE[code](details), options)
    this.name = new.target.name
    this.code = code
    this.details = details
  }
}
brand(GatewayError, 'GatewayError')

/** `GW_INVALID_ARGUMENT`: which field of what was given is at fault, its value, and why. */
export function invalidArgument(field: string, value: unknown, reason: string): GatewayError {
  return new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason })
}

/** Thrown by a handler: the task fails now, whatever its retry policy says. Without a text it has that of its `cause`. */
export class TerminalError extends Error {
  override readonly name = 'TerminalError'

  constructor(message?: string, options?: ErrorOptions)
  constructor(options: ErrorOptions)
  constructor(message: string | ErrorOptions = '', options: ErrorOptions = {}) {
    super(...withText(message, options))
  }
}
brand(TerminalError, 'TerminalError')

/** How a {@link RetryableError} is to be tried again. */
export interface RetryableErrorOptions extends ErrorOptions {
  /** Wait before the next attempt, in ms. Default by the task's retry policy. */
  readonly delayMs?: number | undefined
}

/**
 * Thrown by a handler: the attempt fails and the next one starts after `delayMs`, as far as attempts are left. Without a
 * text it has that of its `cause`.
 */
export class RetryableError extends Error {
  override readonly name = 'RetryableError'
  readonly delayMs: number | undefined

  constructor(message?: string, options?: RetryableErrorOptions)
  constructor(options: RetryableErrorOptions)
  constructor(message: string | RetryableErrorOptions = '', options: RetryableErrorOptions = {}) {
    super(...withText(message, options))
    this.delayMs = (typeof message === 'string' ? options : message).delayMs
  }
}
brand(RetryableError, 'RetryableError')

/** `context.callTool` was given a name that neither the worker nor a plugin offers. */
export class ToolNotFoundError extends GatewayError {
  constructor(tool: string, known: readonly string[]) {
    super('GW_TOOL_NOT_FOUND', { tool, known: known.join(', ') || 'none' })
  }
}
brand(ToolNotFoundError, 'ToolNotFoundError')

/** `context.callTool` was given arguments that the tool's schema refuses; the message names the path. */
export class ToolInputError extends GatewayError {
  constructor(tool: string, reason: string) {
    super('GW_TOOL_INPUT_INVALID', { tool, reason })
  }
}
brand(ToolInputError, 'ToolInputError')

/** `context.prompt` was given a name, or an agent, for which no plugin has a prompt. */
export class PromptNotFoundError extends GatewayError {
  constructor(prompt: string, known: readonly string[]) {
    super('GW_PROMPT_NOT_FOUND', { prompt, known: known.join(', ') || 'none' })
  }
}
brand(PromptNotFoundError, 'PromptNotFoundError')

/** `context.prompt` lacks a variable of the template, or was given one that is not in it. */
export class PromptVariableError extends GatewayError {
  readonly variable: string

  constructor(prompt: string, variable: string, reason: string, value?: unknown) {
    super('GW_PROMPT_VARIABLE', { prompt, variable, reason, ...(value === undefined ? {} : { value }) })
    this.variable = variable
  }
}
brand(PromptVariableError, 'PromptVariableError')

/** How a called agent ended, if not with a result; `TIMEOUT` if it did not end in time. */
export type AgentCallStatus = 'FAILED' | 'CANCELLED' | 'EXPIRED' | 'TIMEOUT'

/** `context.callAgent` called an agent whose task did not complete. */
export class AgentCallError extends GatewayError {
  readonly status: AgentCallStatus
  /** The task of the called agent. */
  readonly messageId: string
  readonly agentType: string
  /** Why it did not complete, as that task's own end says. */
  readonly fault: { readonly code: string; readonly message: string }

  constructor(call: { messageId: string; agentType: string }, status: AgentCallStatus, fault: AgentCallError['fault']) {
    super('GW_AGENT_CALL_FAILED', { ...call, status, reason: fault.message, childCode: fault.code })
    this.status = status
    this.messageId = call.messageId
    this.agentType = call.agentType
    this.fault = fault
  }
}
brand(AgentCallError, 'AgentCallError')

/** A handler that runs again calls something else than before; the task cannot go on from its journal. */
export class NonDeterminismError extends GatewayError {
  constructor(operation: string, recorded: string, given: string) {
    super('GW_NON_DETERMINISM', { operation, recorded, given })
  }
}
brand(NonDeterminismError, 'NonDeterminismError')

/** What `Error` takes, from a text and options or from options alone. */
function withText(message: string | ErrorOptions, options: ErrorOptions): [string, ErrorOptions?] {
  if (typeof message === 'string') return [message, options]
  // An error, which the type lets pass, is meant as the cause.
  const cause = message instanceof Error ? message : message.cause
  return cause === undefined ? [''] : [errorMessage(cause), { cause }]
}

/** So many of the errors that one is made of are told. */
const MOST_PARTS = 10

/** The text of anything that was thrown, even of what throws when it is looked at. */
export function errorMessage(error: unknown): string {
  try {
    const text: unknown = error instanceof Error ? error.message || partsOf(error) || error.name : error
    return typeof text === 'string' ? text : excerpt(text)
  } catch {
    return unshown(error)
  }
}

/** What an error without a text of its own is made of, as Node's when a host has several addresses and none answers; or ''. */
function partsOf(error: Error): string {
  const { errors } = error as Partial<AggregateError>
  if (!Array.isArray(errors)) return ''
  const texts = errors
    .slice(0, MOST_PARTS)
    .map((one) => (one instanceof Error ? one.message || one.name : excerpt(one)))
  return texts.join('; ')
}

/** A value in some 80 characters, for messages. */
export function excerpt(value: unknown): string {
  const text = jsonOf(value) ?? plainForm(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

function jsonOf(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value)
  try {
    // What JSON makes null of would look like what was left out.
    return JSON.stringify(value, (_, part) => (typeof part === 'number' && !Number.isFinite(part) ? `${part}` : part))
  } catch {
    return undefined // cyclic or a BigInt: its plain form has to do
  }
}

function plainForm(value: unknown): string {
  try {
    return String(value)
  } catch {
    return unshown(value)
  }
}

function unshown(value: unknown): string {
  return `an ${typeof value} that cannot be shown`
}
