// A worker in a process of its own, to be killed. Its settings come as JSON in the first argument; it tells its parent
// when it consumes, and goes when its parent does.
import {
  type AgentContext,
  type AskAgentCommand,
  createLogger,
  type GatewayCommand,
  GatewayWorker,
  type RunWorkerOptions,
  runWorker,
} from 'byclaw-gateway-sdk'
import { perform } from './handlers.ts'
import { Journal } from './journal.ts'
import type { Work } from './work.ts'

/** What a worker process is told at its start. */
export interface WorkerSettings {
  readonly journal: string
  readonly capability: string
  /** Options of `runWorker`, those that JSON can carry. */
  readonly options: Omit<RunWorkerOptions, 'worker' | 'workerClass' | 'logger'>
}

const { journal: path, capability, options } = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings
const journal = new Journal(path)

class ChaosAgent extends GatewayWorker {
  override getCapabilities() {
    return [capability]
  }

  override async processCommand(command: GatewayCommand, context: AgentContext): Promise<unknown> {
    const work = JSON.parse(String((command as AskAgentCommand).content)) as Work
    return perform(work, context, { note: (note) => journal.note(note) })
  }
}

process.once('disconnect', () => process.exit(1))
const worker = await runWorker({
  ...options,
  worker: new ChaosAgent(),
  logger: createLogger('info'),
  handleSignals: true,
})
process.send?.('ready')
await worker.stopped
process.removeAllListeners('disconnect')
process.disconnect?.()
