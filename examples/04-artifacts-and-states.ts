// More than text: what the agent is doing, a file of its private workspace as an artifact, and data of its own.
import {
  type AgentContext,
  createLogger,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
  type SessionEvent,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'

class ReportAgent extends GatewayWorker {
  getCapabilities() {
    return ['report']
  }

  async processCommand(_command: GatewayCommand, context: AgentContext) {
    await context.emitState('collecting')
    const cities = ['Beijing', 'Oslo', 'Lima']
    for (const [index, city] of cities.entries()) await context.emitData({ city, done: index + 1, of: cities.length })

    await context.emitState({ state: 'writing', detail: { format: 'csv' } })
    // The folder belongs to this task alone, no path leaves it, and it is removed when the task ends:
    // upload what shall stay and give its URL, or put what is small into the artifact itself.
    await context.workspace.write('out/report.csv', ['city', ...cities].join('\n'))
    const file = await context.workspace.read('out/report.csv')
    await context.emitArtifact({ name: 'report.csv', mimeType: 'text/csv', bytes: file.length, content: `${file}` })
    return { rows: cities.length }
  }
}

await using redis = await startLocalRedis()
await using _worker = await runWorker({ workerClass: ReportAgent, redis: redis.url, logger: createLogger('error') })
await using client = new GatewayClient({ redis: redis.url })

/** What an event says, whatever its type: narrowed by `type`, each has fields of its own. */
function describe(event: SessionEvent): string {
  if (event.type === 'state') return event.state
  if (event.type === 'data') return JSON.stringify(event.data)
  if (event.type === 'artifact') return `${event.artifact.name}, ${event.artifact.bytes} bytes`
  return event.type === 'done' ? event.status : ''
}

await client.ask({
  targetAgentType: 'report',
  sessionId: 's-1',
  content: 'A report, please',
  onEvent: (event) => console.log(event.type.padEnd(9), describe(event)),
})
