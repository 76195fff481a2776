import type { AgentConfig, ConflictPolicy, MergedAgentConfig } from '../agent/agent-config.ts'
import type { Tool, Tools } from '../agent/tool.ts'
import { errorMessage } from '../errors.ts'
import { refusal } from './check-plugin.ts'
import { PromptTemplate } from './prompt-template.ts'

/** What one plugin has declared. */
export interface Declaration {
  readonly pluginId: string
  readonly configs: readonly AgentConfig[]
}

/** What all plugins of a worker have declared, and who declared what. */
export interface MergedConfigs {
  /** The worker's and the plugins'. */
  readonly tools: Tools
  /** The plugin of each tool; the worker's own have none. */
  readonly owners: ReadonlyMap<string, string>
  readonly agents: ReadonlyMap<string, MergedAgent>
}

export interface MergedAgent {
  readonly config: MergedAgentConfig
  readonly templates: ReadonlyMap<string, PromptTemplate>
}

/** Something that a plugin declares under a name. */
interface Claim {
  readonly pluginId: string
  readonly policy: ConflictPolicy
  /** For people: `tool 'forecast'`. */
  readonly what: string
}

interface Draft {
  readonly tools: Set<string>
  readonly prompts: Map<string, { readonly owner: string; readonly template: PromptTemplate }>
  readonly subAgents: Set<string>
  readonly knowledge: unknown[]
  readonly extra: Map<string, { readonly owner: string; readonly value: unknown }>
}

/**
 * Puts together what plugins declare, in their order; the worker's own tools come first and stay.
 *
 * @throws GatewayError `GW_PLUGIN_REFUSED` for a conflict under the policy `error`, which names both sides.
 */
export function mergeConfigs(workerTools: Tools, declarations: readonly Declaration[]): MergedConfigs {
  const tools = new Map<string, Tool>(Object.entries(workerTools))
  const owners = new Map<string, string>()
  const drafts = new Map<string, Draft>()
  for (const { pluginId, configs } of declarations) {
    for (const config of configs) {
      const draft = draftOf(drafts, config.agentId)
      const policy = config.onConflict ?? 'error'
      const claim = (what: string): Claim => ({ pluginId, policy, what })
      addTools({ tools, owners, draft }, config, claim)
      addTexts(draft, config, claim)
      for (const name of config.subAgents ?? []) draft.subAgents.add(name)
      draft.knowledge.push(...(config.knowledge ?? []))
    }
  }
  const agents = new Map([...drafts].map(([agentId, draft]) => [agentId, toMerged(agentId, draft)]))
  return { tools: Object.fromEntries(tools), owners, agents }
}

function addTools(
  { tools, owners, draft }: { tools: Map<string, Tool>; owners: Map<string, string>; draft: Draft },
  config: AgentConfig,
  claim: (what: string) => Claim,
): void {
  for (const [name, tool] of Object.entries(config.tools ?? {})) {
    const known = tools.get(name)
    draft.tools.add(name)
    if (known === tool) continue
    const asked = claim(`tool '${name}'`)
    const owner = owners.get(name)
    const isTaken = known !== undefined && !mayReplace(asked, owner === undefined ? 'the worker' : plugin(owner))
    if (isTaken || (known !== undefined && owner === undefined)) continue
    tools.set(name, tool)
    owners.set(name, asked.pluginId)
  }
}

function addTexts(draft: Draft, config: AgentConfig, claim: (what: string) => Claim): void {
  for (const [name, text] of Object.entries(config.prompts ?? {})) {
    const asked = claim(`prompt '${name}' of '${config.agentId}'`)
    const known = draft.prompts.get(name)
    if (known !== undefined && !mayReplace(asked, plugin(known.owner))) continue
    draft.prompts.set(name, { owner: asked.pluginId, template: toTemplate(asked, name, text) })
  }
  for (const [name, value] of Object.entries(config.extra ?? {})) {
    const asked = claim(`extra '${name}' of '${config.agentId}'`)
    const known = draft.extra.get(name)
    if (known !== undefined && !mayReplace(asked, plugin(known.owner))) continue
    draft.extra.set(name, { owner: asked.pluginId, value })
  }
}

function mayReplace({ pluginId, policy, what }: Claim, owner: string): boolean {
  if (policy === 'error') {
    throw refusal(
      pluginId,
      `${what} is there already, from ${owner} (onConflict: 'overwrite' or 'skip' would allow that)`,
    )
  }
  return policy === 'overwrite'
}

function toTemplate({ pluginId }: Claim, name: string, text: string): PromptTemplate {
  try {
    return new PromptTemplate(name, text)
  } catch (error) {
    throw refusal(pluginId, errorMessage(error), error)
  }
}

function draftOf(drafts: Map<string, Draft>, agentId: string): Draft {
  const known = drafts.get(agentId)
  if (known !== undefined) return known
  const draft = {
    tools: new Set<string>(),
    prompts: new Map(),
    subAgents: new Set<string>(),
    knowledge: [],
    extra: new Map(),
  }
  drafts.set(agentId, draft)
  return draft
}

function toMerged(agentId: string, { tools, prompts, subAgents, knowledge, extra }: Draft): MergedAgent {
  const templates = new Map([...prompts].map(([name, { template }]) => [name, template]))
  const config: MergedAgentConfig = {
    agentId,
    tools: [...tools],
    prompts: Object.fromEntries([...templates].map(([name, { text }]) => [name, text])),
    subAgents: [...subAgents],
    knowledge: [...knowledge],
    extra: Object.fromEntries([...extra].map(([name, { value }]) => [name, value])),
  }
  return { config: Object.freeze(config), templates }
}

function plugin(pluginId: string): string {
  return `plugin '${pluginId}'`
}
