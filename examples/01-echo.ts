// The smallest thing there is: an agent that says back what it hears, and a backend that asks it.
import {
  AskAgentCommand,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'

class EchoAgent extends GatewayWorker {
  getCapabilities() {
    return ['echo']
  }

  async processCommand(command: GatewayCommand) {
    if (command instanceof AskAgentCommand) return command.content
  }
}

// `await using` closes client, worker and Redis, in this order, when the file ends.
await using redis = await startLocalRedis() // the one that REDIS_URL names, else a private one
await using worker = await runWorker({ workerClass: EchoAgent, redis: redis.url, logger: createLogger('error') })
await using client = new GatewayClient({ redis: redis.url })

const answer = await client.ask({ targetAgentType: 'echo', sessionId: 's-1', content: 'hello' })
console.log(`${worker.capabilities} answered: ${answer.content} (${answer.status})`)
