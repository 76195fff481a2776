// A worker in a process of its own, to be killed. Its settings come as JSON in the first argument; it tells its parent
// when it consumes, and goes when its parent does.
import { createLogger, type RunWorkerOptions, runWorker } from 'byclaw-gateway-sdk'
import { redisOf, type Way } from '../test/support/network.ts'
import { ChaosAgent } from './agent.ts'
import { arm, CRASH_VARIABLE, type CrashPoint } from './crash-switch.ts'
import { Journal } from './journal.ts'
import type { Sabotage } from './sabotage.ts'

/** What a worker process is told at its start. */
export interface WorkerSettings {
  readonly journal: string
  readonly capability: string
  readonly redis: Way
  /** What this worker has lost, for a test of the audit. */
  readonly sabotage?: Sabotage
  /** Options of `runWorker`, those that JSON can carry. */
  readonly options: Omit<RunWorkerOptions, 'worker' | 'workerClass' | 'logger' | 'redis'>
}

const { journal, capability, redis, options, sabotage: lost } = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings

process.stdout.write(`process ${process.pid} starts\n`)
if (lost !== undefined) (await import('./sabotage.ts')).sabotage(lost)
const crashPoint = process.env[CRASH_VARIABLE]
if (crashPoint !== undefined) arm(JSON.parse(crashPoint) as CrashPoint)
process.once('disconnect', () => process.exit(1))
const worker = await runWorker({
  ...options,
  redis: redisOf(redis),
  worker: new ChaosAgent(capability, new Journal(journal)),
  logger: createLogger('info'),
  handleSignals: true,
})
process.send?.('ready')
await worker.stopped
process.removeAllListeners('disconnect')
process.disconnect?.()
