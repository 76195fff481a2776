import { z } from 'zod'
import type { AgentCall, ContractCall } from '../../agent/calls.ts'
import { type AgentContract, requireTarget } from '../../agent/contract.ts'
import { checkSchema } from '../../agent/schema.ts'
import { GatewayError, invalidArgument } from '../../errors.ts'
import type { CommandContent } from '../../protocol/command.ts'
import { contentFault } from '../../protocol/content-fault.ts'
import { capabilityFault, idFault } from '../../protocol/ids.ts'
import { members, metadata, taskOptions } from '../../protocol/task-options.ts'
import { parseOptions, requireObject } from '../../util/parse-options.ts'

/** A year. */
const MOST_MS = 31_536_000_000

const schema = z.strictObject({
  targetAgentType: z.string().refine((value) => capabilityFault(value) === null, {
    error: ({ input }) => capabilityFault(input) ?? '',
  }),
  content: z.unknown(),
  waitForReply: z.boolean().default(true),
  timeoutMs: z.number().min(1).max(MOST_MS).optional(),
  messageId: z
    .string()
    .refine((value) => idFault(value) === null, { error: () => idFault('') ?? '' })
    .optional(),
  metadata: metadata.optional(),
  extraPayload: members.optional(),
  retry: taskOptions.shape.retry,
  priority: z.enum(['high', 'normal', 'low']).default('normal'),
})

/** A call that passed the border. */
export type CheckedCall = Omit<z.infer<typeof schema>, 'content'> & {
  readonly content: CommandContent
  readonly contract: AgentContract | undefined
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the field. */
export function checkCall(call: AgentCall | ContractCall): CheckedCall {
  requireObject('the call', call)
  const { target: contract, ...rest } = { target: undefined, ...call }
  if (contract !== undefined) requireTarget(contract, (rest as { targetAgentType?: unknown }).targetAgentType)
  const plain = contract === undefined ? rest : { ...rest, targetAgentType: contract.agentType }
  const checked = parseOptions(schema, plain)
  const fault = contentFault(checked.content)
  if (fault === null) return { contract, ...checked, content: checked.content as CommandContent }
  throw invalidArgument('content', checked.content, fault)
}

/**
 * The calls of a group, which says for all of them whether it waits.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the call by its place in the list, and its field.
 */
export function checkGroup(calls: readonly (AgentCall | ContractCall)[], waitForReply: boolean): CheckedCall[] {
  if (!Array.isArray(calls)) throw invalidArgument('the list of calls', calls, 'must be an array')
  return calls.map((call, index) => {
    const place = `tasks.${index}`
    requireObject(place, call)
    try {
      return checkGroupCall(call, waitForReply)
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== 'GW_INVALID_ARGUMENT') throw error
      throw new GatewayError(
        error.code,
        { ...error.details, field: `${place}.${error.details.field}` },
        { cause: error },
      )
    }
  })
}

function checkGroupCall(call: AgentCall | ContractCall, waitForReply: boolean): CheckedCall {
  const checked = checkCall(call)
  const { waitForReply: own = waitForReply } = call
  if (own === waitForReply) return { ...checked, waitForReply }
  const reason = 'a group waits for all of its calls or for none, as its own waitForReply says'
  throw invalidArgument('waitForReply', own, reason)
}

/** @throws GatewayError `GW_CONTRACT_VIOLATION` */
export async function checkContent({ contract, content }: CheckedCall): Promise<void> {
  if (contract === undefined) return
  const checked = await checkSchema(contract.input, content)
  if (checked.ok) return
  throw new GatewayError('GW_CONTRACT_VIOLATION', { agentType: contract.agentType, reason: checked.reason })
}
