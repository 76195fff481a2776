// An agent that calls another one with a plain await; a call that comes to nothing is an error one can catch.
import {
  AgentCallError,
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

const WORDS: Record<string, string> = { hello: 'hallo', world: 'Welt' }

class DictionaryAgent extends GatewayWorker {
  getCapabilities() {
    return ['dictionary']
  }

  async processCommand(command: GatewayCommand) {
    const word = command instanceof AskAgentCommand ? String(command.content) : ''
    return WORDS[word] ?? Promise.reject(new TerminalError(`'${word}' is not in the dictionary`))
  }
}

class TranslatorAgent extends GatewayWorker {
  getCapabilities() {
    return ['translator']
  }

  async processCommand(command: GatewayCommand, context: AgentContext) {
    if (!(command instanceof AskAgentCommand)) return
    const said: string[] = []
    for (const word of String(command.content).split(' ')) {
      try {
        const { content } = await context.callAgent({ targetAgentType: 'dictionary', content: word })
        said.push(content)
      } catch (error) {
        if (!(error instanceof AgentCallError)) throw error // anything else ends this attempt
        said.push(`[${error.status}: ${error.fault.message}]`)
      }
    }
    return said.join(' ')
  }
}

await using redis = await startLocalRedis()
const options = { redis: redis.url, logger: createLogger('silent') }
await using _dictionary = await runWorker({ workerClass: DictionaryAgent, ...options })
await using _translator = await runWorker({ workerClass: TranslatorAgent, ...options })
await using client = new GatewayClient({ redis: redis.url })

const answer = await client.ask({ targetAgentType: 'translator', sessionId: 's-6', content: 'hello big world' })
console.log(answer.content)
