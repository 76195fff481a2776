// The tools of an MCP server, as tools of an agent: the server is a process that the plugin starts and looks after.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type AgentContext,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'

class Assistant extends GatewayWorker {
  getCapabilities() {
    return ['assistant']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    const tools = context.describeTools().filter(({ name }) => /sum|echo/.test(name)) // for a model's prompt
    for (const { name, inputSchema } of tools) console.log(`${name} takes ${Object.keys(inputSchema.properties ?? {})}`)
    await context.emitChunk(await context.callTool('demo__get-sum', { a: 19, b: 23 }))
    const fault = await context.callTool('demo__get-sum', { a: 'many' }).catch((error: Error) => error.message)
    return { fault: String(fault).split('\n')[0]?.slice(0, 46) }
  }
}

// What other MCP clients have as their configuration; a package in place of a path would do as well.
const folder = await mkdtemp(join(tmpdir(), 'byclaw-example-'))
const server = dirname(createRequire(import.meta.url).resolve('@modelcontextprotocol/server-everything/package.json'))
const demo = { command: process.execPath, args: [join(server, 'dist/index.js'), 'stdio'] }
process.env.BYCLAW_MCP_CONFIG = join(folder, 'mcp.json')
await writeFile(process.env.BYCLAW_MCP_CONFIG, JSON.stringify({ mcpServers: { demo } }))

await using redis = await startLocalRedis()
const settings = { redis: redis.url, logger: createLogger('error') }
const plugins = [fileURLToPath(new URL('../plugins/mcp', import.meta.url))]
await using _running = await runWorker({ ...settings, workerClass: Assistant, plugins })
await using client = new GatewayClient(settings)
const answer = await client.ask({ targetAgentType: 'assistant', sessionId: 's-1', content: 'What is 19 and 23?' })
console.log(`${answer.content}\n${JSON.stringify(answer.data)}`)
await rm(folder, { recursive: true })
