import {
  AgentCallError,
  errorMessage,
  GatewayError,
  PromptNotFoundError,
  PromptVariableError,
  RetryableError,
  TerminalError,
  ToolInputError,
  ToolNotFoundError,
} from '../../errors.ts'
import { isObject } from '../../protocol/json.ts'
import { isReadable } from '../../util/loggable.ts'

/** What was thrown, as JSON records it. */
export interface Thrown {
  /** What it was if it was no error. */
  readonly value?: unknown
  readonly name?: string
  readonly message?: string
  /** Its class, if that is one of ours. */
  readonly kind?: string
  readonly members?: Readonly<Record<string, unknown>>
  readonly cause?: Thrown
}

/** Longest text and largest member of an error that is kept, in characters. */
const MOST_LENGTH = 16_384
const MOST_MEMBERS = 32
const MOST_CAUSES = 3

// The nearest first.
const OURS = [
  ...[AgentCallError, ToolInputError, ToolNotFoundError, PromptNotFoundError, PromptVariableError],
  ...[GatewayError, TerminalError, RetryableError],
] as const

/** What a step or a tool threw, as it is recorded. */
export function toThrown(error: unknown, causes = MOST_CAUSES): Thrown {
  if (!isReadable(error)) return { name: 'Error', message: shortened(errorMessage(error)) }
  if (!(error instanceof Error)) {
    const text = jsonOf(error)
    return text === undefined ? { name: 'Error', message: shortened(errorMessage(error)) } : { value: JSON.parse(text) }
  }
  const { name, message, cause } = error
  const kind = OURS.find((one) => error instanceof one)?.name
  return {
    ...{ name: String(name), message: shortened(String(message)), members: membersOf(error, kind !== undefined) },
    ...(kind === undefined ? {} : { kind }),
    ...(cause === undefined || causes === 0 ? {} : { cause: toThrown(cause, causes - 1) }),
  }
}

/** The same to be thrown again: an error of the same name, text and members; of the same class where that is one of ours. */
export function fromThrown(recorded: unknown): unknown {
  const { value, name, message, kind, members, cause }: Thrown = isObject(recorded) ? recorded : {}
  if (name === undefined) return value
  const error = new Error(message, cause === undefined ? undefined : { cause: fromThrown(cause) })
  const ours = OURS.find((one) => one.name === kind)
  if (ours !== undefined) Object.setPrototypeOf(error, ours.prototype)
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true })
  return Object.assign(error, members)
}

/** Of a foreign error only what is plain: others hold whole requests, with what is secret in them. */
function membersOf(error: Error, isOurs: boolean): Record<string, unknown> {
  const members: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(error).slice(0, MOST_MEMBERS)) {
    if (name === 'name' || name === 'message' || name === 'stack' || name === 'cause') continue
    const isPlain = typeof value !== 'object' || value === null
    const text = isPlain || isOurs ? jsonOf(value) : undefined
    if (text !== undefined) members[name] = JSON.parse(text)
  }
  return members
}

function jsonOf(value: unknown): string | undefined {
  try {
    const text = JSON.stringify(value)
    return text !== undefined && text.length <= MOST_LENGTH ? text : undefined
  } catch {
    return undefined // what cannot be recorded is left out
  }
}

function shortened(text: string): string {
  return text.length > MOST_LENGTH ? `${text.slice(0, MOST_LENGTH)}…` : text
}
