// A folder of plugins: what changes in it is loaded anew while the worker runs, and what is broken changes nothing.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type AgentContext,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis, waitFor } from 'byclaw-gateway-sdk/testing'

const pluginDir = await mkdtemp(join(tmpdir(), 'byclaw-example-'))

/** Writes `greeter.ts` as an editor does. */
const write = (version: string, greeting: string) =>
  writeFile(
    join(pluginDir, 'greeter.ts'),
    `import { definePlugin, tool } from 'byclaw-gateway-sdk'
     import { z } from 'zod'

     const execute = ({ name }: { name: string }) => ${greeting}

     export default definePlugin({
       manifest: { pluginId: 'greeter', version: '${version}' },
       registerAgentConfigs: () => [
         { agentId: 'host', tools: { greet: tool({ description: 'Greets', input: z.object({ name: z.string() }), execute }) } },
       ],
     })`,
  )

class Host extends GatewayWorker {
  getCapabilities() {
    return ['host']
  }

  processCommand(_command: GatewayCommand, context: AgentContext): Promise<string> {
    return context.callTool('greet', { name: 'Ada' })
  }
}

await write('1.0.0', "'Hello ' + name")
await using redis = await startLocalRedis()
const settings = { redis: redis.url, logger: createLogger('silent') }
await using _running = await runWorker({ ...settings, workerClass: Host, pluginDir })
await using client = new GatewayClient(settings)
const plugin = async () => (await client.listPlugins()).find(({ pluginId }) => pluginId === 'greeter')
const ask = async () => (await client.ask({ targetAgentType: 'host', sessionId: 's-1', content: 'Greet' })).data

console.log(`1.0.0   ${await ask()}`)
await write('2.0.0', "'Welcome back, ' + name")
await waitFor(async () => (await plugin())?.version?.startsWith('2'))
console.log(`2.0.0   ${await ask()}`)
await write('3.0.0', "'Goodbye")
await waitFor(async () => (await plugin())?.error)
console.log(`broken  ${await ask()} (${(await plugin())?.error?.replace(/^.*?: |\/.*\//g, '')})`)
await rm(pluginDir, { recursive: true })
