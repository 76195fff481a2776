import { type AgentConfig, type BuildContext, Plugin, type Tools } from 'byclaw-gateway-sdk'
import { McpConnection } from './connection.ts'
import { type McpPluginOptions, type ResolvedServer, readServers, resolveServers } from './options.ts'
import { toTools } from './tools.ts'

export type { McpPluginOptions, McpServerOptions } from './options.ts'

/** The tools of MCP servers, as tools of the worker. Workers of one process share the connections, until the last leaves. */
class McpPlugin extends Plugin {
  readonly manifest
  /** Each server has a time of its own, in which it is there or is not. */
  override readonly startTimeoutMs = 2 ** 31 - 1
  readonly #options: McpPluginOptions
  /** By what the server is given as. */
  readonly #connections = new Map<string, McpConnection>()
  /** Registrations that were not unloaded yet, failed ones too. */
  #users = 0

  constructor(options: McpPluginOptions) {
    super()
    this.#options = options
    this.manifest = {
      pluginId: options.pluginId ?? 'mcp',
      version: '0.1.0',
      name: 'MCP',
      description: 'The tools of MCP servers',
    }
  }

  override async registerAgentConfigs({ logger }: BuildContext): Promise<AgentConfig[]> {
    this.#users += 1
    const servers = Object.entries(await this.#servers())
    const found = await Promise.allSettled(servers.map(([name, server]) => this.#open(name, server, logger)))
    const failed = found.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    const agentId = this.#options.agentId ?? 'mcp'
    // One for each, so that two tools of one name are noticed.
    return found.flatMap((result) => (result.status === 'fulfilled' ? [{ agentId, tools: result.value }] : []))
  }

  override async onUnload(): Promise<void> {
    this.#users = Math.max(0, this.#users - 1)
    if (this.#users > 0) return
    const unused = [...this.#connections.values()]
    this.#connections.clear()
    await Promise.all(unused.map((connection) => connection.close()))
  }

  async #servers(): Promise<Record<string, ResolvedServer>> {
    const { servers, configFile } = this.#options
    if (servers !== undefined && configFile !== undefined)
      throw new Error('only one of servers and configFile can be given')
    if (configFile !== undefined) return readServers(configFile, process.env)
    if (servers === undefined) throw new Error('servers or configFile must be given')
    return resolveServers(servers)
  }

  async #open(name: string, server: ResolvedServer, logger: BuildContext['logger']): Promise<Tools> {
    const connection = this.#connectionTo(name, server, logger)
    try {
      return toTools(connection, server, await connection.listTools())
    } catch (error) {
      if (server.required) throw error
      logger.warn({ server: name, err: error }, 'MCP: the server is not there, its tools are left out')
      return {}
    }
  }

  #connectionTo(name: string, server: ResolvedServer, logger: BuildContext['logger']): McpConnection {
    const key = JSON.stringify([name, server])
    const known = this.#connections.get(key)
    if (known !== undefined) return known
    const connection = new McpConnection(name, server, logger)
    this.#connections.set(key, connection)
    return connection
  }
}

/** Makes a plugin of MCP servers; see the README for what each of them takes. */
export function mcpPlugin(options: McpPluginOptions): Plugin {
  return new McpPlugin(options)
}

/** The servers of `mcp.json` where the worker runs, or of the file that `BYCLAW_MCP_CONFIG` names. */
export default class ConfiguredMcpPlugin extends McpPlugin {
  constructor() {
    super({ configFile: process.env['BYCLAW_MCP_CONFIG'] ?? 'mcp.json' })
  }
}
