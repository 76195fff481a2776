// Whoever cancels a task cancels all that was sent on its behalf, whatever it does just then.
import {
  type AgentContext,
  AskAgentCommand,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis, waitFor } from 'byclaw-gateway-sdk/testing'

/** Calls two of its kind until it is low enough, and then works until it is told to stop. */
class ManagerAgent extends GatewayWorker {
  getCapabilities() {
    return ['manager']
  }

  async processCommand(command: GatewayCommand, context: AgentContext) {
    const level = command instanceof AskAgentCommand ? Number(command.content) : 0
    if (level > 0) {
      const below = { targetAgentType: 'manager', content: String(level - 1) }
      return context.dispatchGroup([below, below])
    }
    await context.emitState('working')
    await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
    context.throwIfCancelled() // the reason of the signal is a GatewayError: GW_CANCELLED
  }
}

await using redis = await startLocalRedis()
await using _worker = await runWorker({ workerClass: ManagerAgent, redis: redis.url, logger: createLogger('error') })
await using client = new GatewayClient({ redis: redis.url })

const sessionId = `tree-${process.pid}`
const { messageId } = await client.sendMessage({ targetAgentType: 'manager', sessionId, content: '2' })
const tasks = () => client.listTasks({ sessionId })
await waitFor(async () => (await tasks()).filter(({ status }) => status === 'RUNNING').length === 7)

const { status } = await client.cancelTask({ sessionId, messageId, reason: 'the user left' })
console.log(status)
const { error } = await client.result({ sessionId, messageId })
console.log(`${error?.code}: ${error?.message}`)
await waitFor(async () => (await tasks()).every(({ status }) => status === 'CANCELLED'))

type Tree = NonNullable<Awaited<ReturnType<typeof client.getTree>>>
const show = (tree: Tree, depth = 0): string =>
  [`${'  '.repeat(depth)}${tree.task.status}`, ...tree.children.map((child) => show(child, depth + 1))].join('\n')
const tree = await client.getTree(sessionId, messageId)
if (tree !== null) console.log(show(tree))
