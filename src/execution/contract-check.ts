import type { AgentContract } from '../agent/contract.ts'
import { checkSchema } from '../agent/schema.ts'
import { GatewayError } from '../errors.ts'
import { AskAgentCommand, type GatewayCommand } from '../protocol/command.ts'

/**
 * The command with its content as the contract makes it; one that carries no content is as it was.
 *
 * @throws GatewayError `GW_CONTRACT_VIOLATION`.
 */
export async function checkInput(contract: AgentContract, command: GatewayCommand): Promise<GatewayCommand> {
  if (!(command instanceof AskAgentCommand)) return command
  return command.withContent(await check(contract, 'content', command.content))
}

/** The result as the contract makes it. @throws GatewayError `GW_CONTRACT_VIOLATION`. */
export function checkResult(contract: AgentContract, result: unknown): Promise<unknown> {
  return check(contract, 'result', result)
}

async function check(contract: AgentContract, direction: 'content' | 'result', value: unknown): Promise<unknown> {
  const checked = await checkSchema(direction === 'content' ? contract.input : contract.output, value)
  if (checked.ok) return checked.value
  throw new GatewayError('GW_CONTRACT_VIOLATION', { agentType: contract.agentType, direction, reason: checked.reason })
}
