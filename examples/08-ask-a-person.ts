// An agent asks a person and waits, for days if need be; a user interface can list the open questions and answer them.
import {
  type AgentContext,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'
import { z } from 'zod'

const approval = z.object({ approved: z.boolean(), limit: z.number().max(500) })

class BuyerAgent extends GatewayWorker {
  getCapabilities() {
    return ['buyer']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    await context.emitChunk('This costs 120 €. ')
    const answer = await context.askUser<z.infer<typeof approval>>({ prompt: 'May I buy it?', schema: approval })
    await context.emitChunk(answer.approved && answer.limit >= 120 ? 'Bought.' : 'Left alone.')
  }
}

await using redis = await startLocalRedis()
const options = { redis: redis.url, logger: createLogger('error') }
// While it waits the task takes no slot, and after this time no memory either.
await using _worker = await runWorker({ workerClass: BuyerAgent, suspendAfterMs: 100, ...options })
await using client = new GatewayClient({ redis: redis.url })

const sessionId = `buyer-${process.pid}`
const { messageId } = await client.sendMessage({ targetAgentType: 'buyer', sessionId, content: 'the blue one' })

for await (const event of client.subscribe(sessionId, { messageId })) {
  if (event.type === 'chunk') console.log(event.content)
  if (event.type !== 'ask_user') continue
  // A page that was opened later finds the question here.
  const [open] = await client.pendingAsks(sessionId)
  console.log(`${event.prompt} (${open?.askId === event.askId ? 'open' : 'closed'})`)
  for (const content of [{ approved: 'yes' }, { approved: true, limit: 300 }, { approved: false, limit: 0 }]) {
    const { status } = await client.reply({ sessionId, messageId, askId: event.askId, content })
    console.log(`${JSON.stringify(content)} ${status}`)
  }
}
console.log(`${await client.text(sessionId, messageId)}`)
