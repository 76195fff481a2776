// A task that sleeps for hours costs nothing meanwhile: no slot, no memory, no worker. Here the hours are a second.
import {
  type AgentContext,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis, waitFor } from 'byclaw-gateway-sdk/testing'

class ReminderAgent extends GatewayWorker {
  getCapabilities() {
    return ['reminder']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    const asked = await context.now() // recorded, unlike Date.now()
    await context.emitChunk('I shall remind you. ')
    await context.sleep(1_000)
    await context.emitChunk('Tea is ready!')
    return { sleptLongEnough: Date.now() - asked >= 1_000, by: context.workerId }
  }
}

await using redis = await startLocalRedis()
const options = { workerClass: ReminderAgent, redis: redis.url, logger: createLogger('error'), suspendAfterMs: 100 }
await using client = new GatewayClient({ redis: redis.url })
const task = { targetAgentType: 'reminder', sessionId: `sleep-${process.pid}`, messageId: 'tea' }

const first = await runWorker({ ...options, workerId: `first-${process.pid}` })
await client.sendMessage({ ...task, content: 'Tell me when the tea is ready' })
await waitFor(async () => (await client.getTask(task))?.status === 'WAITING_AGENT')
console.log(`the task sleeps, its worker has ${first.running} tasks and goes home`)
await first.stop()

// Whoever is there when the time has come goes on.
await using _second = await runWorker({ ...options, workerId: 'second' })
console.log(await client.text(task.sessionId, task.messageId))
console.log(JSON.stringify((await client.result(task)).data))
