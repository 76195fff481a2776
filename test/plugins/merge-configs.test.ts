import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { AgentConfig, ConflictPolicy } from '../../src/agent/agent-config.ts'
import { tool } from '../../src/agent/tool.ts'
import { mergeConfigs } from '../../src/plugins/merge-configs.ts'

const named = (description: string) => tool({ description, input: z.object({}), execute: () => description })
const config = (text: string, onConflict?: ConflictPolicy): AgentConfig => ({
  ...{ agentId: 'agent', tools: { t: named(text) }, prompts: { p: text }, extra: { e: text } },
  ...(onConflict === undefined ? {} : { onConflict }),
})
const merge = (workerTools: Record<string, ReturnType<typeof named>>, ...configs: AgentConfig[]) => {
  const declarations = configs.map((one, index) => ({ pluginId: `p${index}`, configs: [one] }))
  const { tools, owners, agents } = mergeConfigs(workerTools, declarations)
  const agent = agents.get('agent')?.config
  return { tool: tools.t?.description, owner: owners.get('t'), prompt: agent?.prompts.p, extra: agent?.extra.e }
}

describe('what is declared twice', () => {
  test('is refused by default, and both sides are named', () => {
    expect(() => merge({}, config('a'), config('b'))).toThrow(
      "plugin 'p1' was refused: tool 't' is there already, from plugin 'p0' (onConflict: 'overwrite' or 'skip' would allow that)",
    )
    const { tools: _, ...texts } = config('b')
    expect(() => merge({}, config('a'), texts)).toThrow("prompt 'p' of 'agent' is there already, from plugin 'p0'")
    const { prompts: __, ...extra } = texts
    expect(() => merge({}, config('a'), extra)).toThrow("extra 'e' of 'agent' is there already, from plugin 'p0'")
  })

  test('is overwritten, or skipped, by the policy of the later one', () => {
    expect(merge({}, config('a'), config('b', 'overwrite'))).toEqual({
      tool: 'b',
      owner: 'p1',
      prompt: 'b',
      extra: 'b',
    })
    expect(merge({}, config('a', 'overwrite'), config('b', 'skip'))).toEqual({
      ...{ tool: 'a', owner: 'p0', prompt: 'a', extra: 'a' },
    })
  })

  test('a tool of the worker stays, and only the policy `error` makes a fuss of it', () => {
    const own = { t: named('worker') }
    expect(merge(own, config('a', 'overwrite'))).toMatchObject({ tool: 'worker', owner: undefined, prompt: 'a' })
    expect(merge(own, config('a', 'skip'))).toMatchObject({ tool: 'worker', owner: undefined, prompt: 'a' })
    expect(() => merge(own, config('a'))).toThrow("tool 't' is there already, from the worker")
  })

  test('one tool may be declared for several agents', () => {
    const shared = { t: named('shared') }
    const configs = [
      { agentId: 'a', tools: shared },
      { agentId: 'b', tools: shared },
    ]
    const { agents, tools } = mergeConfigs({}, [{ pluginId: 'p', configs }])
    expect([...agents.values()].map((agent) => agent.config.tools)).toEqual([['t'], ['t']])
    expect(Object.keys(tools)).toEqual(['t'])
  })
})

test('sub-agents and knowledge add up', () => {
  const { agents } = mergeConfigs({}, [
    { pluginId: 'a', configs: [{ agentId: 'x', subAgents: ['one', 'two'], knowledge: ['k1'] }] },
    { pluginId: 'b', configs: [{ agentId: 'x', subAgents: ['two', 'three'], knowledge: [{ k: 2 }] }] },
  ])
  expect(agents.get('x')?.config).toEqual({
    ...{ agentId: 'x', tools: [], prompts: {}, extra: {} },
    ...{ subAgents: ['one', 'two', 'three'], knowledge: ['k1', { k: 2 }] },
  })
})
