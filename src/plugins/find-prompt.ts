import { GatewayError, PromptNotFoundError } from '../errors.ts'
import type { MergedAgent } from './merge-configs.ts'
import type { PromptTemplate } from './prompt-template.ts'

/**
 * A prompt by name: of the agent that is named, else of the task's own agent type, else of the only agent that has one of
 * that name.
 *
 * @throws PromptNotFoundError, or GatewayError `GW_INVALID_ARGUMENT` when several agents have it.
 */
export function findPrompt(
  agents: ReadonlyMap<string, MergedAgent>,
  { name, agentId, agentType }: { name: string; agentId: string | undefined; agentType: string },
): PromptTemplate {
  const own = agents.get(agentId ?? agentType)?.templates.get(name)
  if (own !== undefined) return own
  const others = agentId === undefined ? [...agents].filter(([, agent]) => agent.templates.has(name)) : []
  const [only, ...more] = others
  if (more.length > 0) {
    const reason = `several agents have a prompt of that name (${others.map(([id]) => id).join(', ')}): name one`
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: `agentId of prompt '${name}'`, reason })
  }
  const found = only?.[1].templates.get(name)
  if (found !== undefined) return found
  const known = [...agents].flatMap(([id, { templates }]) => [...templates.keys()].map((prompt) => `${id}/${prompt}`))
  throw new PromptNotFoundError(agentId === undefined ? name : `${agentId}/${name}`, known)
}
