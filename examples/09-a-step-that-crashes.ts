// A worker is killed in the middle of a model's answer. Another one takes over: what was done is not done again, the
// half answer is taken back, and whoever reads along sees one whole text.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
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

const [url, life = ''] = process.argv.slice(2)

/** Stands for a language model, which never says the same twice. */
async function* model() {
  for (const token of [`Life ${life} `, 'says ', 'it ', 'all.']) {
    await sleep(20)
    yield token
  }
}

class WriterAgent extends GatewayWorker {
  getCapabilities() {
    return ['doomed-writer']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    const plan = await context.step('plan', () => `made in life ${life}`) // recorded: made once
    await context.step('write', async () => {
      for await (const token of model()) {
        await context.emitChunk(token)
        if (life === '1' && token === 'says ') process.kill(process.pid, 'SIGKILL')
      }
    })
    return { plan }
  }
}

if (url !== undefined) {
  await runWorker({ workerClass: WriterAgent, redis: url, logger: createLogger('error'), handleSignals: true })
} else {
  await using redis = await startLocalRedis()
  await using client = new GatewayClient({ redis: redis.url })
  const start = (number: number) => fork(fileURLToPath(import.meta.url), [redis.url, String(number)])
  const sessionId = `crash-${process.pid}`
  const { messageId } = await client.sendMessage({ targetAgentType: 'doomed-writer', sessionId, content: 'go' })
  const [, signal] = await once(start(1), 'exit')
  console.log(`the worker has ended: ${signal}`)
  const second = start(2)
  const text = await client.text(sessionId, messageId)
  console.log(text, JSON.stringify((await client.result({ sessionId, messageId })).data))
  second.kill('SIGTERM')
  await once(second, 'exit') // before its Redis goes
}
