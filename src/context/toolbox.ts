import { checkSchema } from '../agent/schema.ts'
import type { Tool, ToolContext, Tools } from '../agent/tool.ts'
import { GatewayError, ToolInputError, ToolNotFoundError } from '../errors.ts'

/** The tools of one worker, by name. */
export class Toolbox {
  readonly #tools: ReadonlyMap<string, Tool>

  constructor(tools: Tools) {
    this.#tools = new Map(Object.entries(tools))
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
    return await Promise.race([tool.execute(input, { ...context, signal }), deadline])
  } finally {
    clearTimeout(timer)
  }
}
