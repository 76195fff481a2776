import { readFile } from 'node:fs/promises'
import { z } from 'zod'

/** Of a longer time Node's timers make 1 ms. */
const timerMs = z
  .number()
  .int()
  .min(1)
  .max(2 ** 31 - 1)

const common = {
  /** In front of its tools' names, with `__` in between; '' for none. Default the server's name. */
  prefix: z
    .string()
    .regex(/^[A-Za-z0-9_-]{0,32}$/, 'at most 32 of letters, digits, _ and - are allowed')
    .optional(),
  /** Only these of its tools, by the server's own names. Default all. */
  include: z.array(z.string()).optional(),
  exclude: z.array(z.string()).default([]),
  /** How long a call may take, in ms. */
  timeoutMs: timerMs.default(60_000),
  /** How long a connection may take to come about, in ms, at the start with the list of tools; a call waits so long for one that broke. */
  connectTimeoutMs: timerMs.default(15_000),
  /** False: the worker starts without it if it cannot be reached, and without its tools. */
  required: z.boolean().default(true),
}

const process = z.strictObject({
  ...common,
  command: z.string().min(1),
  args: z.array(z.string()).default([]),
  /** Beside the few variables that are harmless, such as PATH and HOME. */
  env: z.record(z.string(), z.string()).default({}),
  cwd: z.string().optional(),
})

const remote = z.strictObject({
  ...common,
  /** Of its Streamable HTTP endpoint. */
  url: z.url({ protocol: /^https?$/ }),
  headers: z.record(z.string(), z.string()).default({}),
})

const server = z.union([process, remote], {
  error: 'must have a command (with args, env, cwd) or a url (with headers)',
})
const name = z.string().regex(/^[A-Za-z0-9_-]{1,32}$/, '1 to 32 of letters, digits, _ and - are allowed')
const servers = z.record(name, server)

/** A server as it is given. */
export type McpServerOptions = z.input<typeof server>
/** A server with all defaults. */
export type ResolvedServer = z.output<typeof server>

/** What the plugin is made of. */
export interface McpPluginOptions {
  /** Servers by name. */
  readonly servers?: Readonly<Record<string, McpServerOptions>>
  /** A JSON file with `{ "mcpServers": { … } }` in place of `servers`, as other MCP clients have it. */
  readonly configFile?: string
  /** Default `mcp`. Two of these plugins in one worker need two ids. */
  readonly pluginId?: string
  /** Whose tools they are called, for `agentConfig`. Default `mcp`. */
  readonly agentId?: string
}

/** @throws Error that names the server, the field and what is wrong. */
export function resolveServers(given: unknown, where = 'servers'): Record<string, ResolvedServer> {
  const parsed = servers.safeParse(given)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const place = [where, ...(issue?.path ?? [])].map(String).join('.')
  throw new Error(`${place}: ${issue?.message}`)
}

/** @throws Error that names the file and what is wrong with it. */
export async function readServers(file: string, env: Readonly<Record<string, string | undefined>>) {
  let content: unknown
  try {
    content = JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    throw new Error(`${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
  const found = (content as { mcpServers?: unknown } | null)?.mcpServers
  if (found === undefined) throw new Error(`${file}: there is no "mcpServers" in it`)
  return resolveServers(filledIn(ownFields(found, file), file, env), `${file}: mcpServers`)
}

const own = new Set(Object.keys({ ...process.shape, ...remote.shape }))
const SPOKEN: readonly unknown[] = [undefined, 'stdio', 'http', 'streamable-http', 'streamableHttp']

/** The servers of a file that are not disabled, without what only other MCP clients know of them. */
function ownFields(servers: unknown, file: string): unknown {
  if (!isObject(servers)) return servers
  const enabled = Object.entries(servers).filter(([, given]) => !isObject(given) || given['disabled'] !== true)
  return Object.fromEntries(
    enabled.map(([name, given]) => {
      if (!isObject(given)) return [name, given]
      if (!SPOKEN.includes(given['type'])) {
        const said = `${JSON.stringify(given['type'])} is not spoken here, only stdio and http (Streamable HTTP)`
        throw new Error(`${file}: mcpServers.${name}.type: ${said}`)
      }
      return [name, Object.fromEntries(Object.entries(given).filter(([key]) => own.has(key)))]
    }),
  )
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Puts variables of the environment in the place of `${NAME}`, so that secrets need not stand in the file. */
function filledIn(value: unknown, file: string, env: Readonly<Record<string, string | undefined>>): unknown {
  if (typeof value === 'string') {
    return value.replace(/\$\{(\w+)\}/g, (_, variable: string) => {
      const text = env[variable]
      if (text === undefined) throw new Error(`${file}: the variable ${variable} is not set`)
      return text
    })
  }
  if (Array.isArray(value)) return value.map((item) => filledIn(item, file, env))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, filledIn(item, file, env)]))
}
