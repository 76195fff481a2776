import { GatewayError } from '../errors.ts'
import { AskAgentCommand, type GatewayCommand } from '../protocol/command.ts'
import { checkCapability } from '../protocol/ids.ts'
import { requireObject } from '../util/parse-options.ts'
import { isSchema, requireSchema, type Schema, type SchemaInput, type SchemaOutput } from './schema.ts'

/** What an agent takes and what it answers, shared by those who call it and those who are it. */
export interface AgentContract<Input extends Schema = Schema, Output extends Schema = Schema> {
  /** The capability under which the agent works. */
  readonly agentType: string
  readonly input: Input
  readonly output: Output
}

/** The content that a caller gives to an agent with this contract. */
export type ContractInput<Contract> = Contract extends AgentContract<infer Input, Schema> ? SchemaInput<Input> : unknown

/** The content that the handler receives: the input as its schema made it (defaults filled in, text parsed, …). */
export type ContractContent<Contract> =
  Contract extends AgentContract<infer Input, Schema> ? SchemaOutput<Input> : unknown

/** The result that a caller receives. */
export type ContractResult<Contract> =
  Contract extends AgentContract<Schema, infer Output> ? SchemaOutput<Output> : unknown

/**
 * Declares an agent's contract. The sender then infers the type of `content` and of the result, and bad input is
 * refused before it is sent; a worker that returns the contract from `getCapabilities` has its input checked before
 * the handler and its result before it is recorded.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` when the name is not allowed, or input or output is no schema.
 */
export function defineAgent<Input extends Schema, Output extends Schema>(
  agentType: string,
  schemas: { readonly input: Input; readonly output: Output },
): AgentContract<Input, Output> {
  checkCapability('agentType', agentType)
  requireObject(`the contract of '${agentType}'`, schemas)
  requireSchema(`input of agent '${agentType}'`, schemas.input)
  requireSchema(`output of agent '${agentType}'`, schemas.output)
  return Object.freeze({ agentType, input: schemas.input, output: schemas.output })
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names `field`, for what is no contract. */
export function requireContract(field: string, value: unknown): asserts value is AgentContract {
  if (isContract(value)) return
  const reason =
    'must be a contract, which defineAgent makes; a name is given as a text, of a target as targetAgentType'
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason })
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` for a `target` that is no contract, or not that of the agent named beside it. */
export function requireTarget(target: unknown, targetAgentType: unknown): asserts target is AgentContract {
  requireContract('target', target)
  if (targetAgentType === undefined || targetAgentType === target.agentType) return
  const reason = `target is the contract of '${target.agentType}'; one of the two is enough`
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'targetAgentType', value: targetAgentType, reason })
}

/** True for what {@link defineAgent} makes, also that of another copy of this package. */
function isContract(value: unknown): value is AgentContract {
  if (typeof value !== 'object' || value === null) return false
  const { agentType, input, output } = value as Partial<AgentContract>
  return typeof agentType === 'string' && isSchema(input) && isSchema(output)
}

/**
 * The content of a command that came under a contract, with its type. The worker has checked it before the handler was
 * called.
 *
 * @throws GatewayError `GW_CONTRACT_VIOLATION` for a command that carries no content.
 */
export function contentOf<Contract extends AgentContract>(
  contract: Contract,
  command: GatewayCommand,
): ContractContent<Contract> {
  if (command instanceof AskAgentCommand) return command.content as ContractContent<Contract>
  throw new GatewayError('GW_CONTRACT_VIOLATION', {
    agentType: contract.agentType,
    reason: `a ${command.actionType} command has no content`,
  })
}
