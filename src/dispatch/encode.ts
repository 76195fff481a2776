import type { AgentContract } from '../agent/contract.ts'
import { checkSchema } from '../agent/schema.ts'
import { errorMessage, GatewayError } from '../errors.ts'
import { decodeCommand, encodeCommand } from '../protocol/codec.ts'
import { AskAgentCommand, type GatewayCommand } from '../protocol/command.ts'
import { checkCapability } from '../protocol/ids.ts'

/** A command as it is sent, or why it cannot be. */
export function encodeOrFault(
  command: GatewayCommand,
  { maxBytes, isChecked }: { maxBytes: number; isChecked: boolean | undefined },
): string | GatewayError {
  try {
    checkCapability('targetAgentType', command.header.targetAgentType)
    const data = encodeCommand(command)
    const bytes = Buffer.byteLength(data)
    if (bytes > maxBytes) {
      throw new GatewayError('GW_PAYLOAD_TOO_LARGE', { field: 'the command', bytes, limit: maxBytes })
    }
    if (!isChecked) requireReadable(data)
    return data
  } catch (error) {
    // JSON.stringify refuses cycles and BigInts.
    return codingFault(command, error)
  }
}

/** Why a command does not fit the contract, if so. */
export async function contractFault(
  command: GatewayCommand,
  contract: AgentContract,
): Promise<GatewayError | undefined> {
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
