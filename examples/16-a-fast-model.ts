// A model that says a thousand tokens a second: what comes within 20 ms becomes one event, and the text is the same.
import {
  type AgentContext,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'

async function* model(tokens: number) {
  for (let number = 1; number <= tokens; number += 1) {
    if (number % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 20))
    yield `${number} `
  }
}

class FastAgent extends GatewayWorker {
  getCapabilities() {
    return ['fast']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    // Not awaited: they come in order all the same, and all are there before the end.
    for await (const token of model(1_000)) void context.emitChunk(token)
  }
}

await using redis = await startLocalRedis()
await using _worker = await runWorker({
  workerClass: FastAgent,
  redis: redis.url,
  coalesceMs: 20,
  logger: createLogger('error'),
})
await using client = new GatewayClient({ redis: redis.url })

let events = 0
const { content, status } = await client.ask({
  targetAgentType: 'fast',
  sessionId: `fast-${process.pid}`,
  content: 'count',
  onEvent: ({ type }) => {
    if (type === 'chunk') events += 1
  },
})
console.log(`${content.trim().split(' ').length} tokens in ${events} events: ${status}`)
