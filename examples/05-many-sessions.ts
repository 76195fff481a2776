// A thousand browsers on one backend: one client follows 1,000 sessions over two connections.
import {
  type AgentContext,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'

const SESSIONS = 1_000

class CounterAgent extends GatewayWorker {
  getCapabilities() {
    return ['counter']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    for (const word of ['one ', 'two ', 'three']) void context.emitChunk(word) // order needs no waiting
  }
}

await using redis = await startLocalRedis()
await using _worker = await runWorker({ workerClass: CounterAgent, redis: redis.url, logger: createLogger('error') })
await using client = new GatewayClient({ redis: redis.url })

const seen = { chunk: 0, done: 0, wrong: 0 }

async function followSession(sessionId: string) {
  const events = client.subscribe(sessionId)
  await events.opened() // from here on no event of this session is missed
  const { messageId } = await client.sendMessage({ targetAgentType: 'counter', sessionId, content: 'count' })
  let text = ''
  for await (const event of events) {
    if (event.type === 'chunk') {
      text += event.content
      seen.chunk += 1
    }
    if (event.type === 'done' && event.messageId === messageId) break // leaving the loop ends the subscription
  }
  seen.done += 1
  if (text !== 'one two three') seen.wrong += 1
}

const startedAt = Date.now()
await Promise.all(Array.from({ length: SESSIONS }, (_, index) => followSession(`many-${process.pid}-${index}`)))
const seconds = (Date.now() - startedAt) / 1_000

console.log(`${SESSIONS} sessions, ${seen.chunk} chunks, ${seen.done} ends, ${seen.wrong} wrong, in ${seconds} s`)
const sockets = process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap')
console.log(`${sockets.length} connections on this thread: two of the client, three of the worker`)
