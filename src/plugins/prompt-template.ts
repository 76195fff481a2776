import { GatewayError, PromptVariableError } from '../errors.ts'

/** What a variable can be replaced by. */
export type PromptValue = string | number | boolean
export type PromptVars = Readonly<Record<string, PromptValue>>

/** A variable, an escaped brace, or something in braces that is neither. */
const PIECE = /\\\{\{|\{\{([^{}]*)\}\}|\{\{/g
const NAME = /^[A-Za-z_]\w*$/

/** A template with variables such as `{{city}}`; `\{{` stands for the braces themselves. */
export class PromptTemplate {
  readonly text: string
  readonly variables: ReadonlySet<string>
  /** Texts and names of variables, in turn. */
  readonly #parts: readonly string[]

  /** @throws GatewayError `GW_INVALID_ARGUMENT` for braces that name no variable. */
  constructor(name: string, text: string) {
    this.text = text
    const parts: string[] = ['']
    let last = 0
    const literal = (more: string) => {
      parts[parts.length - 1] += more
    }
    for (const { 0: piece, 1: inside, index } of text.matchAll(PIECE)) {
      literal(text.slice(last, index))
      last = index + piece.length
      if (piece === '\\{{') literal('{{')
      else parts.push(variableIn(name, piece, inside), '')
    }
    literal(text.slice(last))
    this.#parts = parts
    this.variables = new Set(parts.filter((_, index) => index % 2 === 1))
  }

  /** @throws PromptVariableError for a variable that is missing, unknown, or no text, number or boolean. */
  fill(name: string, vars: PromptVars): string {
    const known = () => `(it has: ${[...this.variables].join(', ') || 'none'})`
    for (const given of Object.keys(vars)) {
      if (!this.variables.has(given)) throw new PromptVariableError(name, given, `is not in the template ${known()}`)
    }
    return this.#parts.map((part, index) => (index % 2 === 0 ? part : textOf(name, part, vars))).join('')
  }
}

function variableIn(prompt: string, piece: string, inside: string | undefined): string {
  const variable = inside?.trim() ?? ''
  if (NAME.test(variable)) return variable
  const reason = 'braces hold the name of a variable, such as {{city}}; write \\{{ for the braces themselves'
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: `prompt '${prompt}'`, value: piece, reason })
}

function textOf(prompt: string, variable: string, vars: PromptVars): string {
  const value: unknown = Object.hasOwn(vars, variable) ? vars[variable] : undefined
  if (value === undefined) throw new PromptVariableError(prompt, variable, 'is missing')
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return String(value)
  throw new PromptVariableError(prompt, variable, 'must be a text, a number or a boolean', value)
}
