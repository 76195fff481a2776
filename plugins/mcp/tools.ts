import { createHash } from 'node:crypto'
import type { CallToolResult, Tool as McpTool } from '@modelcontextprotocol/sdk/types.js'
import { type Schema, type Tool, tool } from 'byclaw-gateway-sdk'
import type { McpConnection } from './connection.ts'
import type { ResolvedServer } from './options.ts'

const MOST_CHARACTERS = 64
const HASH_LENGTH = 6

type Arguments = Record<string, unknown>

/** The server checks its arguments itself, and says what is wrong with them. */
const anyArguments: Schema<Arguments> = {
  '~standard': {
    version: 1,
    vendor: 'mcp',
    validate: (value) =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? { value: value as Arguments }
        : { issues: [{ message: 'must be an object of arguments' }] },
  },
}

/** The tools of a server, under the names by which agents call them. */
export function toTools(
  connection: McpConnection,
  server: ResolvedServer,
  found: readonly McpTool[],
): Record<string, Tool<Schema<Arguments>>> {
  const { prefix = connection.name, include, exclude } = server
  const unknown = include?.filter((name) => !found.some((mcpTool) => mcpTool.name === name)) ?? []
  if (unknown.length > 0) throw new Error(`MCP server '${connection.name}' has no tool '${unknown.join("', '")}'`)
  const wanted = found.filter(({ name }) => (include?.includes(name) ?? true) && !exclude.includes(name))
  const shown = wanted.map(({ name }) => allowed(prefix, name))
  return Object.fromEntries(
    wanted.map((mcpTool, index) => {
      const isAlone = shown.filter((name) => name === shown[index]).length === 1
      return [nameOf(prefix, mcpTool.name, isAlone), toTool(connection, mcpTool)]
    }),
  )
}

function toTool(connection: McpConnection, { name, title, description, inputSchema }: McpTool) {
  return tool<Schema<Arguments>, unknown>({
    description: description ?? title ?? name,
    input: anyArguments,
    inputSchema,
    execute: async (args, { signal }) => toOutput(connection.name, name, await connection.call(name, args, signal)),
  })
}

/** What a tool answers: its structured content if it has some, its text if it is nothing but text, else all its parts. */
function toOutput(server: string, name: string, { isError, structuredContent, content }: CallToolResult): unknown {
  const texts = content.flatMap((part) => (part.type === 'text' ? [part.text] : []))
  if (isError) throw new Error(`tool '${name}' of MCP server '${server}': ${texts.join('\n') || 'it failed'}`)
  if (structuredContent !== undefined) return structuredContent
  return texts.length === content.length ? texts.join('\n') : content
}

/**
 * A name that model APIs take; one that had to be cut is made its own by a hash, and so is one that was changed to what
 * another tool is called, too.
 */
function nameOf(prefix: string, name: string, isAlone: boolean): string {
  const shown = allowed(prefix, name)
  const isItself = shown.endsWith(name)
  if (shown.length <= MOST_CHARACTERS && (isAlone || isItself)) return shown
  const hash = createHash('sha256').update(name).digest('hex').slice(0, HASH_LENGTH)
  return `${shown.slice(0, MOST_CHARACTERS - HASH_LENGTH - 1)}_${hash}`
}

function allowed(prefix: string, name: string): string {
  return `${prefix === '' ? '' : `${prefix}__`}${name}`.replace(/[^A-Za-z0-9_-]/g, '_')
}
