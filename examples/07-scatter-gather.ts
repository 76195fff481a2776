// Several agents are asked at once; all answers come back in the order of the questions, also of those that fail.
import {
  type AgentContext,
  AskAgentCommand,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
  TerminalError,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'

const PRICES: Record<string, number> = { aurora: 120, borealis: 95 }

class HotelAgent extends GatewayWorker {
  getCapabilities() {
    return ['hotel']
  }

  async processCommand(command: GatewayCommand) {
    const name = command instanceof AskAgentCommand ? String(command.content) : ''
    const price = PRICES[name]
    if (price === undefined) throw new TerminalError('no rooms')
    return { name, price }
  }
}

class TravelAgent extends GatewayWorker {
  getCapabilities() {
    return ['travel']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    const calls = ['aurora', 'polaris', 'borealis'].map((content) => ({ targetAgentType: 'hotel', content }))
    const replies = await context.dispatchGroup<{ name: string; price: number }>(calls) // failFast: true gives up early
    const offers = replies.flatMap((reply) => (reply.status === 'COMPLETED' ? [reply.data] : []))
    const [best] = offers.sort((a, b) => a.price - b.price)
    return { best, statuses: replies.map(({ status }) => status) }
  }
}

await using redis = await startLocalRedis()
const options = { redis: redis.url, logger: createLogger('silent') }
await using _hotels = await runWorker({ workerClass: HotelAgent, ...options })
await using _travel = await runWorker({ workerClass: TravelAgent, ...options })
await using client = new GatewayClient({ redis: redis.url })

const { data } = await client.ask({ targetAgentType: 'travel', sessionId: 's-7', content: 'a room for tonight' })
console.log(JSON.stringify(data))
