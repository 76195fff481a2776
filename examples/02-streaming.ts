// An answer that comes word by word: the agent emits chunks, the backend prints them as they arrive.
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AgentContext,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'

const ANSWER = 'Air scatters blue light more than red, so blue reaches your eye from every side.'

/** Stands for a language model: says its answer token by token. */
async function* model() {
  for (const token of ANSWER.match(/\S+\s*/g) ?? []) {
    await sleep(20)
    yield token
  }
}

class WriterAgent extends GatewayWorker {
  getCapabilities() {
    return ['writer']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    let tokens = 0
    for await (const token of model()) {
      await context.emitChunk(token)
      tokens += 1
    }
    return { tokens }
  }
}

await using redis = await startLocalRedis()
await using _worker = await runWorker({ workerClass: WriterAgent, redis: redis.url, logger: createLogger('error') })
await using client = new GatewayClient({ redis: redis.url })

const question = { targetAgentType: 'writer', sessionId: 's-1', content: 'Why is the sky blue?' }
const { messageId } = await client.sendMessage(question)

// Begins with the task's first event, however late you come, and ends after its last one.
for await (const event of client.subscribe('s-1', { messageId })) {
  if (event.type === 'chunk') process.stdout.write(event.content)
  if (event.type === 'done') console.log(`\n${event.status} ${JSON.stringify(event.result)}`)
}
