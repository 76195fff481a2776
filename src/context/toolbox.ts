import { setMaxListeners } from 'node:events'
import { type JsonSchema, jsonSchemaOf } from '../agent/json-schema.ts'
import { checkSchema } from '../agent/schema.ts'
import type { Tool, ToolContext, ToolDescription, Tools } from '../agent/tool.ts'
import { errorMessage, GatewayError, ToolInputError, ToolNotFoundError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { checkTools } from './tool-check.ts'

/** The tools of one worker, by name. */
export class Toolbox {
  readonly #tools: ReadonlyMap<string, Tool>
  /** As JSON, of which everybody gets a copy of his own. */
  #descriptions: string | undefined

  /** @throws GatewayError `GW_INVALID_ARGUMENT` that names the tool and what is wrong with it. */
  constructor(tools: Tools) {
    checkTools(tools)
    this.#tools = new Map(Object.entries(tools))
  }

  /**
   * What a model is to know of the tools; a copy, so that it may be changed to a model's liking.
   *
   * @param logger - Told once of a tool whose schema cannot say what it accepts.
   */
  describe(logger: Logger): ToolDescription[] {
    this.#descriptions ??= JSON.stringify(
      [...this.#tools].map(([name, tool]): ToolDescription => {
        return { name, description: tool.description, inputSchema: inputSchemaOf(name, tool, logger) }
      }),
    )
    return JSON.parse(this.#descriptions)
  }

  /** True for a tool whose results are recorded. */
  isDurable(name: string): boolean {
    return this.#tools.get(name)?.durable === true
  }

  /** Checks the arguments, runs the tool within its time, checks what it returns. */
  async call(name: string, args: unknown, context: ToolContext): Promise<unknown> {
    const tool = this.#tools.get(name)
    if (tool === undefined) throw new ToolNotFoundError(name, [...this.#tools.keys()].sort())
    const input = await checkSchema(tool.input, args)
    if (!input.ok) throw new ToolInputError(name, input.reason)
    const result = await execute(name, tool, input.value, context)
    if (tool.output === undefined) return result
    const output = await checkSchema(tool.output, result)
    if (!output.ok) throw new GatewayError('GW_TOOL_OUTPUT_INVALID', { tool: name, reason: output.reason })
    return output.value
  }
}

function inputSchemaOf(name: string, tool: Tool, logger: Logger): JsonSchema {
  if (tool.inputSchema !== undefined) return tool.inputSchema
  let reason = `${tool.input['~standard'].vendor} does not speak Standard JSON Schema`
  try {
    const schema = jsonSchemaOf(tool.input)
    if (schema !== null) return schema
  } catch (error) {
    reason = errorMessage(error)
  }
  logger.debug({ tool: name, reason }, 'a tool cannot say what it accepts: give it an inputSchema')
  return {}
}

async function execute(name: string, tool: Tool, input: unknown, context: ToolContext): Promise<unknown> {
  const { timeoutMs } = tool
  if (timeoutMs === undefined) return tool.execute(input, context)
  const late = new AbortController()
  const timedOut = new GatewayError('GW_TOOL_TIMEOUT', { tool: name, timeoutMs })
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(timedOut) // first, so that what the tool says when it hears the signal comes too late
      late.abort(timedOut)
    }, timeoutMs)
  })
  try {
    const signal = AbortSignal.any([context.signal, late.signal])
    // As that of the task: a tool may do more than ten things at once that listen to it.
    setMaxListeners(0, signal)
    return await Promise.race([tool.execute(input, { ...context, signal }), deadline])
  } finally {
    clearTimeout(timer)
  }
}
