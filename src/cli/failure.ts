import { CommanderError } from 'commander'
import { errorMessage, GatewayError } from '../errors.ts'
import { LocalServerError } from '../testing/servers/local-server.ts'
import { placeOf } from '../util/stack-place.ts'

/** Exit codes besides 0. */
export const EXIT = { failure: 1, usage: 2, brokenPipe: 141, interrupted: 130, terminated: 143 } as const

/** The command line itself is at fault. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** What the user's agent says of itself is at fault. */
export class AgentFault extends Error {
  override readonly name = 'AgentFault'
}

/** How a program ends after an error: what it says, undefined for nothing, and its exit code. */
export interface Failure {
  readonly text: string | undefined
  readonly code: number
}

/** One clear line per error; only what was not foreseen says where it was thrown. */
export function describeFailure(error: unknown): Failure {
  if (error instanceof CommanderError) return describeCommanderError(error)
  if (error instanceof UsageError) return { text: oneLine(error.message), code: EXIT.usage }
  if (error instanceof AgentFault) return { text: oneLine(error.message), code: EXIT.failure }
  // Its lines are a list of choices, each of use.
  if (error instanceof LocalServerError) return { text: error.message, code: EXIT.failure }
  if (error instanceof GatewayError) {
    const code = error.code === 'GW_INVALID_ARGUMENT' ? EXIT.usage : EXIT.failure
    return { text: `${oneLine(error.message)} (${error.code})`, code }
  }
  const place = placeOf(error)
  return { text: `${oneLine(errorMessage(error))}${place === undefined ? '' : ` (${place})`}`, code: EXIT.failure }
}

/** Help and version come as errors too, with exit code 0 and nothing more to say. */
function describeCommanderError(error: CommanderError): Failure {
  if (error.exitCode === 0) return { text: undefined, code: 0 }
  if (error.code === 'commander.help') return { text: undefined, code: EXIT.usage }
  return { text: oneLine(error.message.replace(/^error: /, '')), code: EXIT.usage }
}

/** A text without line breaks and control characters. */
export function oneLine(text: string): string {
  return text
    .replace(/\s*[\r\n]+\s*/g, ' ')
    .replace(/\p{Cc}/gu, '�')
    .trim()
}
