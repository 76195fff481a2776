import { requireSchema } from '../agent/schema.ts'
import type { Tool, Tools } from '../agent/tool.ts'
import { errorMessage, GatewayError } from '../errors.ts'
import { MOST_TIMER_MS } from '../util/timer.ts'

/** What all of the large model APIs take as the name of a function. */
const NAME = /^[A-Za-z0-9_-]{1,64}$/

/**
 * Refuses what could only fail later, at the first call or at the model's: at the start of a worker somebody looks.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the tool and the field.
 */
export function checkTools(tools: Tools): void {
  if (!isObject(tools) || Array.isArray(tools) || 'then' in tools) {
    throw invalid('getTools()', 'must return an object of tools by name, not a promise or a list')
  }
  for (const [name, tool] of Object.entries(tools)) checkTool(name, tool)
}

function checkTool(name: string, tool: Tool): void {
  if (!NAME.test(name)) {
    throw invalid('the name of a tool', '1 to 64 of letters, digits, _ - are allowed, as model APIs want it', name)
  }
  const field = (part: string) => `${part} of tool '${name}'`
  if (!isObject(tool)) throw invalid(`tool '${name}'`, 'must be what tool({ … }) returns', tool)
  const { description, input, output, timeoutMs, inputSchema, durable, execute } = tool
  if (typeof description !== 'string') throw invalid(field('description'), 'must be a text', description)
  requireSchema(field('input'), input)
  if (output !== undefined) requireSchema(field('output'), output)
  if (typeof execute !== 'function') throw invalid(field('execute'), 'must be a function', execute)
  if (timeoutMs !== undefined && !(Number.isInteger(timeoutMs) && timeoutMs >= 1 && timeoutMs <= MOST_TIMER_MS)) {
    throw invalid(field('timeoutMs'), `must be a whole number of ms from 1 to ${MOST_TIMER_MS}`, timeoutMs)
  }
  if (inputSchema !== undefined && !isObject(inputSchema)) {
    throw invalid(field('inputSchema'), 'must be a JSON Schema as an object', inputSchema)
  }
  const fault = jsonFault(inputSchema)
  if (fault !== null) throw invalid(field('inputSchema'), fault)
  if (durable !== undefined && typeof durable !== 'boolean') {
    throw invalid(field('durable'), 'must be true or false', durable)
  }
}

/** Why JSON cannot carry something, a circle for instance, or null if it can. */
function jsonFault(value: unknown): string | null {
  try {
    JSON.stringify(value)
    return null
  } catch (error) {
    return errorMessage(error)
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

function invalid(field: string, reason: string, value?: unknown): GatewayError {
  return new GatewayError('GW_INVALID_ARGUMENT', { field, reason, ...(value === undefined ? {} : { value }) })
}
