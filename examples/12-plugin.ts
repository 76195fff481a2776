// A plugin: tools and prompts for an agent, a hook that watches, and an interceptor that changes what is said.
import {
  type AgentContext,
  createLogger,
  definePlugin,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
  tool,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'
import { z } from 'zod'

const DEGREES: Record<string, number> = { Beijing: 21, Oslo: 4 }

const weather = definePlugin({
  manifest: { pluginId: 'weather', version: '1.0.0', description: 'Knows the weather of some cities' },

  registerAgentConfigs: () => {
    const get_current_weather = tool({
      description: 'Degrees in a city, now',
      input: z.object({ city: z.string() }),
      execute: ({ city }) => DEGREES[city] ?? null,
    })
    const system_prompt = 'You are a weather assistant. Answer in {{language}}.'
    return [{ agentId: 'assistant', tools: { get_current_weather }, prompts: { system_prompt } }]
  },

  onToolCall: ({ tool: name, args, status }) => console.log(`hook      ${name} ${JSON.stringify(args)} ${status}`),

  interceptors: {
    emit: async (input, next) => {
      const { event } = input
      await next(event.type === 'chunk' ? { ...input, event: { ...event, content: `${event.content} °C` } } : input)
    },
  },
})

class Assistant extends GatewayWorker {
  getCapabilities() {
    return ['assistant']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    console.log(`prompt    ${context.prompt('system_prompt', { vars: { language: 'English' } })}`)
    console.log(`tools     ${context.describeTools().map(({ name }) => name)}`)
    await context.emitChunk(`${await context.callTool('get_current_weather', { city: 'Oslo' })}`)
    return { weather: context.pluginVersion('weather') }
  }
}

await using redis = await startLocalRedis()
const worker = { workerClass: Assistant, plugins: [weather], redis: redis.url, logger: createLogger('error') }
await using _running = await runWorker(worker)
await using client = new GatewayClient({ redis: redis.url })
const { data, content } = await client.ask({ targetAgentType: 'assistant', sessionId: 's-1', content: 'Cold in Oslo?' })
console.log(`answer    ${content} ${JSON.stringify(data)}`)
