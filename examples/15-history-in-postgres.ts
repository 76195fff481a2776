// What was said, kept in Postgres: the agent reads what came before, the backend reads it too, and deletes it in one call.
import {
  type AgentContext,
  AskAgentCommand,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { PostgresHistory } from 'byclaw-gateway-sdk/history/postgres'
import { startLocalPostgres, startLocalRedis } from 'byclaw-gateway-sdk/testing'

class Rememberer extends GatewayWorker {
  getCapabilities() {
    return ['rememberer']
  }

  async processCommand(command: GatewayCommand, context: AgentContext) {
    if (!(command instanceof AskAgentCommand)) return
    const before = (await context.getHistory({ limit: 20 })).slice(0, -1) // the last one is this very question
    const name = before.map(({ content }) => /My name is (\w+)/.exec(`${content}`)?.[1]).find(Boolean)
    await context.emitChunk(name === undefined ? 'Hello. ' : `Hello again, ${name}. `)
    await context.emitChunk(`I remember ${before.length} messages.`)
  }
}

await using redis = await startLocalRedis()
await using postgres = await startLocalPostgres() // the one that DATABASE_URL names, else a private one
const logger = createLogger('error')
await using history = new PostgresHistory({ connectionString: postgres.url, retentionDays: 90, logger })
await using _worker = await runWorker({ workerClass: Rememberer, redis: redis.url, history, logger })
await using client = new GatewayClient({ redis: redis.url, history })

const sessionId = `talk-${process.pid}`
for (const content of ['Hi. My name is Ada.', 'Who am I?']) {
  const { content: answer } = await client.ask({ targetAgentType: 'rememberer', sessionId, content })
  console.log(answer)
}

for (const { role, content } of await client.getHistory(sessionId, { limit: 2 })) console.log(`${role}: ${content}`)

const { success, tasks } = await client.deleteSession(sessionId)
console.log(`deleted: ${success}, ${tasks} tasks; ${(await client.getHistory(sessionId)).length} messages are left`)
