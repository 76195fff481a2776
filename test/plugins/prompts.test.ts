import { describe, expect, test } from 'vitest'
import { PromptNotFoundError, PromptVariableError } from '../../src/errors.ts'
import { findPrompt } from '../../src/plugins/find-prompt.ts'
import { mergeConfigs } from '../../src/plugins/merge-configs.ts'
import { PromptTemplate } from '../../src/plugins/prompt-template.ts'

describe('a template', () => {
  test('is filled in', () => {
    const template = new PromptTemplate('p', 'In {{city}} it is {{ degrees }} °C, {{city}}. \\{{literally}}')
    expect([...template.variables]).toEqual(['city', 'degrees'])
    expect(template.fill('p', { city: 'Oslo', degrees: -3 })).toBe('In Oslo it is -3 °C, Oslo. {{literally}}')
  })

  test('takes what it is given as it is', () => {
    expect(new PromptTemplate('p', '{{a}}').fill('p', { a: '{{b}} $& \\{{' })).toBe('{{b}} $& \\{{')
    expect(new PromptTemplate('p', '{ "a": { "b": 1 } }').fill('p', {})).toBe('{ "a": { "b": 1 } }')
  })

  test.each([
    [{}, 'city', "prompt 'p': variable 'city' is missing"],
    [{ city: 'x', town: 'y' }, 'town', "prompt 'p': variable 'town' is not in the template (it has: city)"],
    [{ city: { a: 1 } }, 'city', `prompt 'p': variable 'city' must be a text, a number or a boolean (got {"a":1})`],
    [{ city: undefined }, 'city', "prompt 'p': variable 'city' is missing"],
  ])('given %j names the variable at fault', (vars, variable, message) => {
    let error: unknown
    try {
      new PromptTemplate('p', 'In {{city}}').fill('p', vars as never)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(PromptVariableError)
    expect(error).toMatchObject({ code: 'GW_PROMPT_VARIABLE', variable, message })
  })

  test('does not take inherited names for variables', () => {
    expect(() => new PromptTemplate('p', '{{constructor}}').fill('p', {})).toThrow("variable 'constructor' is missing")
  })

  test.each(['{{ci ty}}', '{{}}', '{{#if x}}', 'open {{ end', '{{a.b}}'])('%j is refused', (text) => {
    expect(() => new PromptTemplate('p', text)).toThrow(/prompt 'p' is invalid: braces hold the name of a variable/)
  })
})

describe('a prompt is found', () => {
  const { agents } = mergeConfigs({}, [
    {
      pluginId: 'p',
      configs: [
        { agentId: 'writer', prompts: { system: 'You write.', style: 'Plainly.' } },
        { agentId: 'critic', prompts: { system: 'You doubt.' } },
      ],
    },
  ])
  const find = (name: string, agentType: string, agentId?: string) =>
    findPrompt(agents, { name, agentType, agentId }).text

  test('under the agent that is named, the task’s own, or the only one', () => {
    expect(find('system', 'critic', 'writer')).toBe('You write.')
    expect(find('system', 'critic')).toBe('You doubt.')
    expect(find('style', 'critic')).toBe('Plainly.')
    expect(find('style', 'other')).toBe('Plainly.')
  })

  test('or not, and the error says what there is', () => {
    expect(() => find('system', 'other')).toThrow(
      'several agents have a prompt of that name (writer, critic): name one',
    )
    expect(() => find('none', 'writer')).toThrow(PromptNotFoundError)
    expect(() => find('style', 'writer', 'critic')).toThrow(
      "there is no prompt 'critic/style' (known: writer/system, writer/style, critic/system)",
    )
  })
})
